"""The API while its database is away, behind, or something else goes wrong."""

import re
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from urllib.parse import urljoin

import psutil
import psycopg
import pytest
from psycopg.errors import DeadlockDetected, InsufficientResources, LockNotAvailable
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from api import middleware
from api.routes.health import READY_SECONDS
from models import Account
from models.db.session import transaction
from models.queries.health import EXPECTED_MIGRATION
from models.transitions.accounts import back_off_account
from models.transitions.leadership import lead, see_worker
from models.transitions.reconciling.runs import note_undecided
from sandbox.servers import EmbeddedPostgres
from tests.support import rows
from tests.support.api_server import Api, new_job, serve_api
from tests.support.servers import cloned_database
from tests.support.simulator_client import wait_until

SLACK_SECONDS = 30
"""What a busy machine may add."""


def test_a_stopped_database_is_reported_until_it_is_back(api: Api, postgres: EmbeddedPostgres) -> None:
    stored = api.push()["id"]
    fill_pool(api)
    postgres.stop()
    answers = [
        api.client.post("/v1/jobs", json=new_job()),
        api.client.post("/v1/batches", json={"name": "pilot", "jobs": [new_job()]}),
        api.client.get("/v1/jobs"),
        api.client.get(f"/v1/jobs/{stored}"),
        api.client.get("/v1/batches"),
        api.client.post(f"/v1/jobs/{stored}/cancel"),
        api.client.get("/metrics"),
    ]
    assert [(answer.status_code, answer.headers.get("retry-after")) for answer in answers] == [(503, "2")] * 7
    assert answers[0].json()["detail"] == "the database cannot be reached"
    ready = api.client.get("/readyz")
    assert (ready.status_code, ready.json()["status"], ready.json()["database"]) == (503, "not ready", "away")
    assert api.client.get("/healthz").json() == {"status": "ok"}
    assert api.client.post("/v1/estimate", json={"jobs": [new_job()]}).status_code == 200
    postgres.start()
    assert api.push()["state"] == "queued"
    assert api.client.get("/readyz").status_code == 200
    assert len(api.client.get("/v1/jobs").json()["items"]) == 2


def test_connections_that_a_restart_cut_cost_one_refused_push_at_most(api: Api, postgres: EmbeddedPostgres) -> None:
    fill_pool(api)
    postgres.stop()
    postgres.start()
    statuses = [api.client.post("/v1/jobs", json=new_job()).status_code for _ in range(6)]
    assert statuses in ([201] * 6, [503] + [201] * 5)


def fill_pool(api: Api) -> None:
    """Several connections that have been used before and lie idle."""
    together = threading.Barrier(4)

    def use() -> None:
        with transaction(api.sessions) as session:
            rows.count(session, "job")
            together.wait(timeout=60)

    threads = [threading.Thread(target=use) for _ in range(together.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_an_api_starts_without_its_database(tmp_path: Path) -> None:
    with serve_api("postgresql://user:hush@127.0.0.1:1/none", tmp_path) as api:
        assert api.client.get("/healthz").status_code == 200
        refused = api.client.post("/v1/jobs", json=new_job())
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert "hush" not in refused.text


def test_a_database_without_tables_is_not_ready(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    postgres.start()
    with cloned_database(postgres, template="template1") as url, serve_api(url, tmp_path) as api:
        ready = api.client.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "not ready"})  # it knows no key


@contextmanager
def frozen(postgres: EmbeddedPostgres) -> Iterator[None]:
    """All of Postgres stands still, with its connections open."""
    server = psutil.Process(postgres.pid)
    family = [*server.children(recursive=True), server]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()


def test_no_route_waits_for_a_frozen_database_for_longer_than_said(
    api: Api, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = api.push()["id"]
    fill_pool(api)
    monkeypatch.setattr(middleware, "ANSWER_SECONDS", 1.0)
    with frozen(postgres):
        began = time.monotonic()
        answers = [
            api.client.post("/v1/jobs", json=new_job()),
            api.client.post("/v1/batches", json={"name": "pilot", "jobs": [new_job()]}),
            api.client.get("/v1/jobs"),
            api.client.get(f"/v1/jobs/{stored}"),
            api.client.get("/v1/account"),
            api.client.get("/v1/unconfirmed"),
            api.client.get("/metrics"),
        ]
        seconds = time.monotonic() - began
        assert api.client.get("/healthz").status_code == 200
    reported = [(answer.status_code, answer.headers.get("retry-after"), answer.json()["detail"]) for answer in answers]
    assert reported == [(503, "2", "the request was not handled in time; it may still be carried out")] * 7
    assert seconds < len(answers) + SLACK_SECONDS
    monkeypatch.undo()
    assert api.push()["state"] == "queued"
    assert api.client.get(f"/v1/jobs/{stored}").status_code == 200


def test_a_frozen_database_is_reported_within_seconds_until_it_thaws(api: Api, postgres: EmbeddedPostgres) -> None:
    fill_pool(api)
    assert api.client.get("/readyz").status_code == 200
    with frozen(postgres):
        began = time.monotonic()
        answers = [api.client.get("/readyz") for _ in range(3)]
        seconds = time.monotonic() - began
    assert [(answer.status_code, answer.json()["database"]) for answer in answers] == [(503, "away")] * 3
    assert seconds < 3 * READY_SECONDS + SLACK_SECONDS
    assert api.client.get("/readyz").status_code == 200


def test_readiness_names_the_workers_and_why_the_account_waits(api: Api) -> None:
    with transaction(api.sessions) as session:
        account_id = rows.add_account(session, name="default")
        lead(session, "worker-1", lease=rows.MINUTE)
        see_worker(session, "worker-1", queues=["submit"], threads=4)
        see_worker(session, "worker-2", queues=["store"], threads=4)
        back_off_account(session, account_id, delay=rows.MINUTE, reason="credit", detail="top up")
    seen = api.client.get("/readyz")
    assert seen.status_code == 200
    assert seen.json()["migration"] == EXPECTED_MIGRATION
    assert (seen.json()["dispatcher"], seen.json()["workers"]) == ("worker-1", 2)
    assert (seen.json()["account"]["condition"], seen.json()["account"]["detail"]) == ("no_credit", "top up")
    assert seen.json()["dispatcher_away_seconds"] is None
    assert seen.json()["lag_seconds"] == 0


def test_readiness_says_which_service_has_stopped_and_since_when(api: Api) -> None:
    with transaction(api.sessions) as session:
        account_id = rows.add_account(session, name="default")
        see_worker(session, "worker-1", queues=["submit"], threads=4)
        lead(session, "worker-1", lease=rows.MINUTE)
        back_off_account(session, account_id, delay=rows.MINUTE, reason="key", detail="refused")
        rows.change(session, "leader", lease_until=-20 * rows.SECOND)
        since = Account.back_off_since - 11 * rows.MINUTE
        rows.change(session, "account", account_id, back_off_since=since, back_off_until=-rows.SECOND)
        back_off_account(session, account_id, delay=rows.MINUTE, reason="key", detail="refused again")
    reported = api.client.get("/readyz").json()
    assert (reported["status"], reported["dispatcher"]) == ("ready", None)
    assert 20 <= reported["dispatcher_away_seconds"] < 50
    assert reported["account"]["condition"] == "key_rejected"
    waited = datetime.now(UTC) - datetime.fromisoformat(reported["account"]["since"])
    assert 660 <= waited.total_seconds() < 700


def test_a_dispatcher_that_never_led_is_late_from_the_start_of_the_workers(api: Api) -> None:
    assert api.client.get("/readyz").json()["dispatcher_away_seconds"] is None
    with transaction(api.sessions) as session:
        see_worker(session, "worker-1", queues=["submit"], threads=4)
        rows.change(session, "worker", started_at=-15 * rows.SECOND)
    assert 15 <= api.client.get("/readyz").json()["dispatcher_away_seconds"] < 45


def test_readiness_tells_how_late_the_most_overdue_row_is(api: Api) -> None:
    with transaction(api.sessions) as session:
        rows.add_render(session, "rendering", due_at=timedelta(seconds=-90))
    assert 90 <= api.client.get("/readyz").json()["lag_seconds"] < 120


def test_readiness_shows_the_number_and_age_of_unconfirmed_submissions(api: Api) -> None:
    with transaction(api.sessions) as session:
        rows.add_render(session, "unconfirmed", posted_at=timedelta(seconds=-700))
        foreign = rows.add_render(session, "unconfirmed", due_at=timedelta(0))
        note_undecided(session, [foreign.prediction_id], code="foreign_list", message="another account's")
    reported = api.client.get("/readyz").json()
    assert (reported["status"], reported["unconfirmed"], reported["foreign_list"]) == ("ready", 2, 1)
    assert 700 <= reported["oldest_unconfirmed_seconds"] < 730


def test_a_bug_is_logged_with_its_traceback_and_answered_without(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the secret of the bug")

    monkeypatch.setattr("api.routes.jobs.list_jobs", stumble)
    with capture_logs() as logs:
        response = api.client.get("/v1/jobs")
    assert (response.status_code, response.json()) == (
        500,
        {
            "type": "about:blank",
            "title": "Internal Server Error",
            "status": 500,
            "detail": "an unexpected error; it was logged",
            "errors": [],
        },
    )
    failed = next(line for line in logs if line["event"] == "request.failed")
    assert (failed["log_level"], failed["exc_info"], failed["route"]) == ("error", True, "/v1/jobs")


@pytest.mark.parametrize(
    ("cause", "status", "retry_after"),
    [(LockNotAvailable, 409, "2"), (DeadlockDetected, 409, "2"), (InsufficientResources, 500, None)],
)
def test_a_lock_that_is_not_free_is_a_conflict_and_no_bug(
    api: Api, monkeypatch: pytest.MonkeyPatch, cause: type[psycopg.Error], status: int, retry_after: str | None
) -> None:
    def stumble(*_: object, **__: object) -> None:
        raise OperationalError("the statement", {}, cause())

    monkeypatch.setattr("api.routes.jobs.push_job", stumble)
    with capture_logs() as logs:
        response = api.client.post("/v1/jobs", json=new_job())
    assert (response.status_code, response.headers.get("retry-after")) == (status, retry_after)
    assert ("request.failed" in {line["event"] for line in logs}) == (status == 500)


def test_each_request_leaves_one_log_line_that_names_only_the_route(api: Api) -> None:
    with capture_logs() as logs:
        job_id = api.client.post("/v1/jobs", json=new_job(input={"prompt": "hush"})).json()["id"]
        wait_until(lambda: len(logs) == 1, "the line of the push")  # written once the answer is out
        api.client.get(f"/v1/jobs/{job_id}?secret=hush")
        wait_until(lambda: len(logs) == 2, "the line of the check")
        api.client.get("/hush")
        wait_until(lambda: len(logs) == 3, "the line of the unknown page")
    lines = [(line["event"], line["method"], line["route"], line["status"]) for line in logs]
    assert lines == [
        ("request.answered", "POST", "/v1/jobs", 201),
        ("request.answered", "GET", "/v1/jobs/{job_id}", 200),
        ("request.answered", "GET", "unknown", 404),
    ]
    assert all(line["milliseconds"] >= 0 for line in logs)
    assert "hush" not in str(logs)


def test_the_root_address_redirects_to_the_page(api: Api) -> None:
    front = api.client.get("/")
    assert (front.status_code, front.headers["location"]) == (307, "docs")
    assert api.client.get("/docs").headers["content-type"] == "text/html; charset=utf-8"
    assert api.client.get("/openapi.json").json() == api.app.openapi()


@pytest.mark.parametrize("root", ["", "/rushes"])
def test_the_docs_page_loads_only_what_the_api_serves(api: Api, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    monkeypatch.setattr(api.app, "root_path", root)
    page = api.client.get(f"{root}/docs")
    loaded = re.findall(r"""(?:src|href)="([^"]+)"|url: '([^']+)'""", page.text)
    addresses = [urljoin(f"{root}/docs", link or document) for link, document in loaded]
    assert len(addresses) == 4
    assert all(api.client.get(each).status_code == 200 for each in addresses)
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert f"script-src 'self' 'sha256-{digest}'" in policy
