"""Webhooks over HTTP: what is believed, what is a hint, what is refused, and what never leaks."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from api.routes.hooks import HOOK_BYTES
from models import Prediction, queries, transitions
from models.db.session import WAKE_CHANNEL, transaction
from models.queries.audit import RULES, find_broken
from rushes.runtime import ACCOUNT
from rushes.wavespeed.callback_urls import make_token
from rushes.wavespeed.client import Timeouts
from rushes.wavespeed.webhooks import WebhookSecret
from rushes.webhooks import SAME_REQUEST
from sandbox.servers import EmbeddedPostgres
from sandbox.wavespeed.webhooks import sign
from tests.support import rows
from tests.support.api_server import Api, serve_api
from tests.support.rows import MINUTE, NOW, OUTPUT, SECOND, Render
from tests.support.runtimes import change
from tests.support.scripted_server import Peer, ScriptedServer
from tests.support.servers import EMPTY, cloned_database
from tests.support.simulator_client import wait_until

KEY = "wsk-hush"
SECRET = "whsec_of_the_account"
PROVIDER_ID = "5f2c1e0b7a9d4c63b8e1"
TAKEN = 204


class Provider:
    """Tells its secret, or does not; counts how often it was asked."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.secret: str | None = SECRET
        self.hangs = False
        self.asked = 0

    def serve(self, peer: Peer) -> None:
        while request := peer.read_request():
            assert request.target.startswith("/api/v3/webhook/secret")
            self.asked += 1
            if self.hangs:
                peer.hang()
            elif self.secret is None:
                peer.answer(503, {"code": 503, "message": "away"})
            else:
                peer.answer(200, {"code": 200, "message": "success", "data": {"secret": self.secret}})


class Hooks:
    """An API with an account, its provider, and the means to send it webhooks."""

    def __init__(self, api: Api, provider: Provider) -> None:
        self.api = api
        self.provider = provider
        with transaction(api.sessions) as session:
            self.account_id = rows.add_account(session, name=ACCOUNT)
            self.token_secret = queries.webhooks.find_hook_secret(session, ACCOUNT) or b""

    def add(self, state: str = "rendering", **columns: Any) -> Render:
        columns = {"provider_id": PROVIDER_ID, "hook_asked": True} | columns
        with transaction(self.api.sessions) as session:
            return rows.add_render(session, state, account_id=self.account_id, **columns)

    def gain_trust(self, count: int = 5, **changes: Any) -> None:
        """Rows of renders whose end a webhook and a check have reported."""
        for _ in range(count):
            reported = {"provider_id": uuid4().hex, "hooked_at": NOW, "hook_outcome": "completed", "ended_at": -MINUTE}
            self.add("completed", **reported | changes)

    def read(self, render: Render) -> Any:
        with transaction(self.api.sessions) as session:
            return rows.read(session, "prediction", render.prediction_id)

    def state_of_job(self, render: Render) -> str:
        with transaction(self.api.sessions) as session:
            return str(rows.read(session, "job", render.job_id)["state"])

    def is_early_check_requested(self, render: Render) -> bool:
        with transaction(self.api.sessions) as session:
            return render.prediction_id in rows.list_early_checks(session)

    def add_another(self, state: str, render: Render) -> None:
        """The job's next purchase."""
        with transaction(self.api.sessions) as session:
            rows.add_prediction(session, render.job_id, self.account_id, state)

    def move_job(self, render: Render, state: str, **columns: Any) -> None:
        change(self.api, "job", render.job_id, state=state, **columns)

    def rows_of(self, render: Render) -> list[tuple[str, str | None]]:
        """State and provider id of each prediction of its job, in their order; `duplicate` for a duplicate purchase."""
        query = text("""
            SELECT CASE WHEN is_duplicate THEN 'duplicate' ELSE state END AS state, provider_id
            FROM prediction WHERE job_id = :id ORDER BY attempt
        """)
        with transaction(self.api.sessions) as session:
            return [(row.state, row.provider_id) for row in session.execute(query, {"id": render.job_id})]

    def submits(self) -> int:
        """How many submissions go out now, whatever they wait for."""
        change(self.api, "prediction", Prediction.state == "submitting", due_at=NOW)
        with transaction(self.api.sessions) as session:
            transitions.admission.admit_jobs(session, self.account_id, count=9)
            return len(transitions.admission.claim_submits(session, self.account_id, count=9, lease=MINUTE))

    def find_broken(self) -> set[str]:
        with transaction(self.api.sessions) as session:
            held = (
                "rendering_has_live",
                "live_has_rendering",
                "no_duplicate",
                "duplicate_goes_on",
                "no_unknown_prediction",
            )
            return {rule.name for rule in RULES if rule.name in held and find_broken(session, rule).total}

    def token(self, render: Render) -> str:
        return make_token(render.prediction_id, render.job_id, secret=self.token_secret)

    def send(
        self, token: str, *, secret: str = SECRET, age: float = 0, body: bytes | None = None, **reported: Any
    ) -> httpx.Response:
        """A webhook as the provider sends it; `reported` changes what it says of a completed render."""
        task = {"id": PROVIDER_ID, "model": rows.VIDEO_MODEL, "status": "completed", "outputs": [OUTPUT]} | reported
        body = json.dumps(task).encode() if body is None else body
        stamp = str(int(time.time() - age))
        signature = sign(secret, webhook_id=PROVIDER_ID, timestamp=stamp, body=body)
        headers = {"webhook-id": PROVIDER_ID, "webhook-timestamp": stamp, "webhook-signature": f"v3,{signature}"}
        return self.api.client.post(f"/v1/hooks/wavespeed/{token}", content=body, headers=headers)


@pytest.fixture(scope="module")
def running(
    postgres: EmbeddedPostgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Api, Provider]]:
    """One API for all tests here, on a database of its own, and its provider."""
    provider = Provider()
    with (
        cloned_database(postgres, template=migrated_template) as url,
        ScriptedServer(provider.serve) as server,
        serve_api(url, tmp_path_factory.mktemp("api"), wavespeed_api_key=KEY, wavespeed_url=server.url) as api,
    ):
        yield api, provider


def ask_patiently(api: Api, *, wait_seconds: float = 60, **options: float) -> None:
    """Nobody is sent away while a machine stands still between the API and its provider."""
    runtime = api.app.state.runtime

    def fetch() -> str:
        with closing(runtime._open_client(Timeouts(connect=60, read=60, total=60), pool_size=1)) as client:
            return str(client.get_webhook_secret())

    vars(runtime)["webhook_secret"] = WebhookSecret(fetch, wait_seconds=wait_seconds, **options)


@pytest.fixture
def hooks(postgres: EmbeddedPostgres, running: tuple[Api, Provider]) -> Hooks:
    """The API as if it had just started, on an emptied database."""
    postgres.start()
    api, provider = running
    with transaction(api.sessions) as session:
        session.execute(text(EMPTY))
    for learnt in ("hook_secret", "webhook_secret"):
        vars(api.app.state.runtime).pop(learnt, None)
    ask_patiently(api)
    provider.reset()
    return Hooks(api, provider)


def test_a_webhook_is_an_early_check_request_before_the_first_have_agreed(hooks: Hooks) -> None:
    hooks.gain_trust(4)
    render = hooks.add()
    assert hooks.send(hooks.token(render)).status_code == TAKEN
    row = hooks.read(render)
    assert (row["state"], row["hook_outcome"]) == ("rendering", "completed")
    assert row["hooked_at"] is not None
    assert hooks.is_early_check_requested(render)


def test_a_webhook_is_the_answer_once_the_first_have_agreed(hooks: Hooks) -> None:
    hooks.gain_trust(5)
    render = hooks.add(claim=7)
    assert hooks.send(hooks.token(render), executionTime=9_500).status_code == TAKEN
    row = hooks.read(render)
    assert (row["state"], row["outputs"], row["ended_by_hook"]) == ("completed", [OUTPUT], True)
    assert row["execution_seconds"] == 9.5
    assert row["hooked_at"] is not None
    assert hooks.state_of_job(render) == "storing"
    events = hooks.api.client.get(f"/v1/jobs/{render.job_id}/events").json()["items"]
    assert [each["detail"]["by"] for each in events if each["kind"] == "prediction.completed"] == ["webhook"]


def test_a_webhook_that_disagreed_takes_the_trust_away(hooks: Hooks) -> None:
    hooks.gain_trust(50)
    hooks.gain_trust(1, hook_outcome="failed")
    render = hooks.add()
    assert hooks.send(hooks.token(render)).status_code == TAKEN
    assert hooks.read(render)["state"] == "rendering"
    assert hooks.is_early_check_requested(render)


def test_renders_that_webhooks_ended_create_no_trust_in_webhooks(hooks: Hooks) -> None:
    hooks.gain_trust(50, ended_by_hook=True)
    render = hooks.add()
    hooks.send(hooks.token(render))
    assert hooks.read(render)["state"] == "rendering"


def test_a_setting_makes_every_webhook_an_early_check_request(hooks: Hooks) -> None:
    hooks.gain_trust(5)
    render = hooks.add()
    runtime = hooks.api.app.state.runtime
    never = replace(runtime, settings=runtime.settings.with_changes(webhooks_trusted="never"))
    hooks.api.app.state.runtime = never
    try:
        assert hooks.send(hooks.token(render)).status_code == TAKEN
    finally:
        hooks.api.app.state.runtime = runtime
    assert (hooks.read(render)["state"], hooks.read(render)["hook_outcome"]) == ("rendering", "completed")
    assert hooks.is_early_check_requested(render)


def test_a_webhook_that_comes_twice_or_ten_times_at_once_is_taken_once(hooks: Hooks) -> None:
    hooks.gain_trust()
    render = hooks.add()
    token = hooks.token(render)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: hooks.send(token).status_code, range(10)))
    assert answers == [TAKEN] * 10
    before = hooks.read(render)
    assert hooks.send(token).status_code == TAKEN
    assert hooks.read(render) == before
    events = hooks.api.client.get(f"/v1/jobs/{render.job_id}/events").json()["items"]
    assert [each["kind"] for each in events] == ["prediction.completed", "job.storing"]


def test_a_webhook_that_comes_after_the_check_is_noted_and_moves_nothing(hooks: Hooks) -> None:
    render = hooks.add("completed")
    assert hooks.send(hooks.token(render)).status_code == TAKEN
    row = hooks.read(render)
    assert (row["hook_outcome"], row["ended_by_hook"], row["early_check_at"]) == ("completed", False, None)
    assert row["hooked_at"] is not None


@pytest.mark.parametrize(
    ("reported", "outcome"),
    [
        ({"status": "failed", "outputs": [], "error": "no"}, "failed"),
        ({"status": "completed", "outputs": []}, "failed"),
        ({"status": "canceled"}, "cancelled"),
        ({"status": "timeout"}, "timeout"),
        ({"status": "processing", "outputs": []}, None),
        ({"status": "a new word"}, None),
    ],
)
def test_a_webhook_without_a_video_is_an_early_check_request(
    hooks: Hooks, reported: dict[str, Any], outcome: str | None
) -> None:
    hooks.gain_trust()
    render = hooks.add()
    assert hooks.send(hooks.token(render), **reported).status_code == TAKEN
    row = hooks.read(render)
    assert (row["state"], row["hook_outcome"], row["hooked_at"] is None) == ("rendering", outcome, outcome is None)
    assert hooks.is_early_check_requested(render)


def test_a_webhook_with_another_id_is_an_early_check_request_and_no_fact(hooks: Hooks) -> None:
    hooks.gain_trust()
    render = hooks.add()
    assert hooks.send(hooks.token(render), id="another").status_code == TAKEN
    row = hooks.read(render)
    assert (row["state"], row["provider_id"], row["hooked_at"]) == ("rendering", PROVIDER_ID, None)
    assert hooks.is_early_check_requested(render)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"status": "completed"}'])
def test_a_signed_body_without_a_prediction_is_an_early_check_request(hooks: Hooks, body: bytes) -> None:
    hooks.gain_trust()
    render = hooks.add()
    assert hooks.send(hooks.token(render), body=body).status_code == TAKEN
    assert hooks.read(render)["state"] == "rendering"
    assert hooks.is_early_check_requested(render)


@pytest.mark.parametrize("state", ["submitting", "unconfirmed"])
def test_the_id_of_a_lost_answer_is_learnt(hooks: Hooks, state: str) -> None:
    hooks.gain_trust()
    render = hooks.add(state, provider_id=None, posted_at=-SECOND)
    assert hooks.send(hooks.token(render), created_at="2026-01-01T00:00:00Z").status_code == TAKEN
    row = hooks.read(render)
    assert (row["state"], row["provider_id"], row["adopted_at"]) == ("rendering", PROVIDER_ID, None)
    assert row["hook_outcome"] == "completed"
    assert row["provider_created_at"].year == 2026
    assert hooks.is_early_check_requested(render)


@pytest.mark.parametrize("state", ["not_found", "refused"])
@pytest.mark.parametrize("job_state", ["rendering", "failed"])
def test_a_submission_called_not_bought_becomes_a_reported_duplicate(hooks: Hooks, state: str, job_state: str) -> None:
    render = hooks.add(state, provider_id=None)
    if job_state == "rendering":  # bought anew meanwhile
        hooks.add_another("rendering", render)
    else:
        hooks.move_job(render, "failed", ended_at=NOW, error_code="broken")
    with capture_logs() as logs:
        assert hooks.send(hooks.token(render)).status_code == TAKEN
        assert hooks.send(hooks.token(render)).status_code == TAKEN
    row = hooks.read(render)
    assert (row["state"], row["provider_id"], row["is_duplicate"]) == ("rendering", PROVIDER_ID, True)
    assert row["early_check_at"] is not None
    reported = [(each["log_level"], each["provider_id"]) for each in logs if each["event"] == "duplicate.found"]
    assert reported == [("error", PROVIDER_ID)]
    assert hooks.state_of_job(render) == job_state


@pytest.mark.parametrize("state", ["not_found", "refused"])
@pytest.mark.parametrize("waits", ["queued", "admitted"])
def test_a_submission_called_not_bought_goes_to_its_job_while_that_waits(hooks: Hooks, state: str, waits: str) -> None:
    hooks.gain_trust()
    render = hooks.add(state, provider_id=None)
    if waits == "queued":
        hooks.move_job(render, "queued", due_at=NOW)
    else:
        hooks.add_another("submitting", render)
    with capture_logs() as logs:
        assert hooks.send(hooks.token(render)).status_code == TAKEN
    assert [each["event"] for each in logs if each["event"].startswith("duplicate")] == []
    assert hooks.rows_of(render) == [(state, None), ("rendering", PROVIDER_ID)]
    assert hooks.state_of_job(render) == "rendering"
    assert hooks.submits() == 0  # paid once
    # As for every id that was only just learnt, the video is searched for; the same webhook later is the answer.
    assert hooks.send(hooks.token(render)).status_code == TAKEN
    assert hooks.rows_of(render) == [(state, None), ("completed", PROVIDER_ID)]
    assert hooks.state_of_job(render) == "storing"
    assert hooks.find_broken() == set()


def test_a_withdrawn_restored_submission_gets_a_duplicate_of_its_own(hooks: Hooks) -> None:
    render = hooks.add("submitting", provider_id=None)  # bought, as the provider knows and this backup does not
    with transaction(hooks.api.sessions) as session:
        assert transitions.jobs.cancel_job(session, render.job_id) == "cancelled"
    for _ in range(2):
        assert hooks.send(hooks.token(render)).status_code == TAKEN
    assert hooks.rows_of(render) == [("cancelled", None), ("duplicate", PROVIDER_ID)]
    assert hooks.state_of_job(render) == "cancelled"
    assert hooks.find_broken() == {"no_duplicate"}


def test_a_waiting_restored_submission_becomes_the_purchase(hooks: Hooks) -> None:
    render = hooks.add("submitting", provider_id=None)
    assert hooks.send(hooks.token(render)).status_code == TAKEN
    row = hooks.read(render)
    assert (row["state"], row["provider_id"], row["posted_at"] is None) == ("rendering", PROVIDER_ID, False)
    assert hooks.submits() == 0


@pytest.mark.parametrize(("job_state", "state"), [("queued", "rendering"), ("cancelled", "duplicate")])
def test_a_row_that_a_restore_has_lost_is_made_again(hooks: Hooks, job_state: str, state: str) -> None:
    with transaction(hooks.api.sessions) as session:
        lost = Render(hooks.account_id, rows.add_job(session, job_state), UUID(int=2))
    for _ in range(2):
        assert hooks.send(hooks.token(lost)).status_code == TAKEN
    assert hooks.rows_of(lost) == [(state, PROVIDER_ID)]
    assert hooks.submits() == 0


@pytest.mark.parametrize("state", ["submitting", "unconfirmed", "not_found"])
@pytest.mark.parametrize("learnt", [PROVIDER_ID, "another"])
def test_an_id_that_its_row_learns_at_this_instant_is_left_to_it(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch, state: str, learnt: str
) -> None:
    render = hooks.add(state, provider_id=None, posted_at=-SECOND)
    if state == "not_found":
        hooks.move_job(render, "failed", ended_at=NOW, error_code="broken")
    find = queries.reconciling.find_job_snapshot

    def read_and_be_late(*asked: Any) -> Any:
        snapshot = find(*asked)
        monkeypatch.setattr(queries.reconciling, "find_job_snapshot", find)
        with transaction(hooks.api.sessions) as session:
            transitions.submitting.accept_prediction(
                session, render.prediction_id, provider_id=learnt, provider_created_at=None, watch_window=MINUTE
            )
        return snapshot

    monkeypatch.setattr(queries.reconciling, "find_job_snapshot", read_and_be_late)
    assert hooks.send(hooks.token(render)).status_code == TAKEN
    assert hooks.rows_of(render) == [("duplicate" if state == "not_found" else "rendering", learnt)]


def test_an_id_learnt_by_its_token_beats_an_adoption(hooks: Hooks) -> None:
    adopter = hooks.add(adopted_at=NOW)
    render = hooks.add("unconfirmed", provider_id=None, posted_at=-SECOND)
    assert hooks.send(hooks.token(render)).status_code == TAKEN
    assert (hooks.read(render)["state"], hooks.read(render)["provider_id"]) == ("rendering", PROVIDER_ID)
    assert (hooks.read(adopter)["state"], hooks.read(adopter)["provider_id"]) == ("unconfirmed", None)


def test_an_id_that_another_has_for_good_is_left_to_it(hooks: Hooks) -> None:
    owner = hooks.add()
    render = hooks.add("unconfirmed", provider_id=None, posted_at=-SECOND)
    assert hooks.send(hooks.token(render)).status_code == TAKEN
    assert hooks.read(owner)["provider_id"] == PROVIDER_ID
    assert (hooks.read(render)["state"], hooks.read(render)["provider_id"]) == ("unconfirmed", None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret": "whsec_of_somebody_else"}, "the webhook's signature does not match"),
        ({"age": 310}, "the webhook is too old, or a clock is wrong"),
        ({"age": -360}, "the webhook is too old, or a clock is wrong"),
    ],
)
def test_a_webhook_without_a_recent_signature_is_refused(hooks: Hooks, changes: Any, words: str) -> None:
    hooks.gain_trust()
    render = hooks.add()
    refused = hooks.send(hooks.token(render), **changes)
    assert (refused.status_code, refused.json()["detail"]) == (401, words)
    row = hooks.read(render)
    assert (row["state"], row["hooked_at"], row["early_check_at"]) == ("rendering", None, None)


def test_a_webhook_without_the_headers_is_refused(hooks: Hooks) -> None:
    token = hooks.token(hooks.add())
    assert hooks.api.client.post(f"/v1/hooks/wavespeed/{token}", content=b"{}").status_code == 401


def test_a_token_that_is_not_ours_is_unknown_and_the_provider_is_not_asked(hooks: Hooks) -> None:
    render = hooks.add()
    for token in ("x", make_token(render.prediction_id, render.job_id, secret=b"guessed"), hooks.token(render)[:-1]):
        assert hooks.send(token).status_code == 404
    assert hooks.provider.asked == 0
    assert hooks.read(render)["early_check_at"] is None


def test_a_token_whose_row_is_lost_is_taken_and_reported(hooks: Hooks) -> None:
    lost = Render(hooks.account_id, UUID(int=1), UUID(int=2))
    with capture_logs() as logs:
        assert hooks.send(hooks.token(lost)).status_code == TAKEN
    reported = [each for each in logs if each["event"] == "webhook.row_lost"]
    assert [(each["prediction_id"], each["job_id"]) for each in reported] == [(str(UUID(int=2)), str(UUID(int=1)))]


def test_a_token_is_unknown_before_the_account_has_a_row(hooks: Hooks) -> None:
    with transaction(hooks.api.sessions) as session:
        session.execute(text("DELETE FROM account"))
    assert hooks.send("A" * 64).status_code == 404


def test_a_body_that_is_too_large_is_refused(hooks: Hooks) -> None:
    token = hooks.token(hooks.add())
    assert hooks.send(token, body=b" " * HOOK_BYTES).status_code == TAKEN
    assert hooks.send(token, body=b" " * (HOOK_BYTES + 1)).status_code == 413


def test_a_changed_secret_is_fetched_anew(hooks: Hooks) -> None:
    ask_patiently(hooks.api, pause_seconds=0)
    hooks.gain_trust()
    first, second = hooks.add(), hooks.add(provider_id="p2")
    assert hooks.send(hooks.token(first)).status_code == TAKEN
    hooks.provider.secret = "whsec_new"
    assert hooks.send(hooks.token(second), secret="whsec_new", id="p2").status_code == TAKEN
    assert hooks.read(second)["state"] == "completed"
    assert hooks.provider.asked == 2
    assert hooks.send(hooks.token(second), id="p2").status_code == 401


@pytest.mark.parametrize("hangs", [False, True])
def test_webhooks_are_early_check_requests_while_the_secret_is_unknown(hooks: Hooks, hangs: bool) -> None:
    hooks.provider.secret, hooks.provider.hangs = None, hangs
    ask_patiently(hooks.api, wait_seconds=0.2)  # and the provider hangs for a minute
    hooks.gain_trust()
    began = time.monotonic()
    for number in range(5):
        render = hooks.add(provider_id=f"p{number}")
        assert hooks.send(hooks.token(render), secret="whsec_unknown", id=f"p{number}").status_code == TAKEN
        assert (hooks.read(render)["state"], hooks.read(render)["hooked_at"]) == ("rendering", None)
        assert hooks.is_early_check_requested(render)
    assert time.monotonic() - began < 50
    wait_until(lambda: hooks.provider.asked, "the question")
    assert hooks.provider.asked == 1


def test_an_api_without_a_key_takes_webhooks_for_early_check_requests(database_url: str, tmp_path: Path) -> None:
    with serve_api(database_url, tmp_path) as api:
        hooks = Hooks(api, Provider())
        hooks.gain_trust()
        render = hooks.add()
        assert hooks.send(hooks.token(render)).status_code == TAKEN
        assert hooks.read(render)["state"] == "rendering"
        assert hooks.is_early_check_requested(render)


def test_a_webhook_wakes_the_dispatcher(hooks: Hooks) -> None:
    render = hooks.add()
    url = hooks.api.app.state.runtime.settings.get_database_url()
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute(f"LISTEN {WAKE_CHANNEL}")
        hooks.send(hooks.token(render))
        assert next(iter(listener.notifies(timeout=60, stop_after=1))).channel == WAKE_CHANNEL


def test_webhooks_in_a_row_are_one_early_check_request(hooks: Hooks) -> None:
    render = hooks.add()
    with transaction(hooks.api.sessions) as session:
        rows.change(session, "prediction", render.prediction_id, early_check_at=-timedelta(seconds=0.2))
        before = rows.read(session, "prediction", render.prediction_id)["early_check_at"]
        assert not transitions.renders.request_early_checks(session, [render.prediction_id], quiet_for=SAME_REQUEST)
    assert hooks.read(render)["early_check_at"] == before


def routes_in(logs: list[Any]) -> list[str]:
    """Of the requests for webhooks: the line of a page that a test before asked for may be late."""
    answered = [each["route"] for each in logs if each["event"] == "request.answered"]
    return [each for each in answered if not each.startswith("/v1/jobs")]


def test_token_key_and_secrets_are_in_no_log_and_no_answer(hooks: Hooks) -> None:
    render = hooks.add()
    token, unknown = hooks.token(render), make_token(render.prediction_id, render.job_id, secret=b"guessed")
    with capture_logs() as logs:
        answers = [
            hooks.send(token),
            hooks.send(token, secret="whsec_forged"),
            hooks.send(unknown),
            hooks.send(token, body=b" " * (HOOK_BYTES + 1)),
            hooks.api.client.get(f"/v1/hooks/wavespeed/{token}"),
        ]
        with patch("rushes.webhooks._write", side_effect=RuntimeError("a bug")):
            answers.append(hooks.send(token))
        wait_until(lambda: len(routes_in(logs)) == len(answers), "a line of each, written once the answer is out")
    assert [each.status_code for each in answers] == [204, 401, 404, 413, 405, 500]
    assert set(routes_in(logs)) == {"/v1/hooks/wavespeed/{token}"}
    shown = "".join(map(str, logs)) + "".join(each.text for each in answers)
    for hidden in (token, unknown, KEY, SECRET):
        assert hidden not in shown
