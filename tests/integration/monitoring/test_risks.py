"""`finish_by`: what may be promised, and that a risk is reported once, and its end once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from models import transitions
from models.db.session import transaction
from rushes.monitoring.reports import check_risks, describe_farm
from rushes.runtime import ACCOUNT, Runtime
from tests.support import rows
from tests.support.api_server import Api, fields_of, new_job, serve_api
from tests.support.runtimes import change

HOUR = timedelta(hours=1)


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    """An API on a farm with one slot, whose renders are believed to take 100 s in the middle."""
    with serve_api(database_url, tmp_path, render_median_seconds=100) as served:
        with transaction(served.sessions) as session:
            transitions.leadership.lead(session, "worker-1", lease=HOUR)
            transitions.leadership.see_worker(session, "worker-1", queues=["submit", "store"], threads=8)
            rows.add_account(session, name=ACCOUNT, slots=1)
        yield served


def runtime_of(api: Api) -> Runtime:
    runtime: Runtime = api.app.state.runtime
    return runtime


def push(api: Api, *, jobs: int = 10, finish_in: timedelta | None = HOUR) -> dict[str, Any]:
    body: dict[str, Any] = {"name": "pilot", "jobs": [new_job() for _ in range(jobs)]}
    if finish_in is not None:
        body["finish_by"] = (datetime.now(UTC) + finish_in).isoformat()
    pushed: dict[str, Any] = api.client.post("/v1/batches", json=body).raise_for_status().json()
    return pushed


def promise(api: Api, finish_in: timedelta) -> None:
    """Move the end of the one batch."""
    change(api, "batch", finish_by=finish_in)


def show(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.client.get("/v1/batches/pilot").raise_for_status().json()
    return found


def reported(api: Api) -> list[str]:
    events = api.client.get("/v1/batches/pilot/events").raise_for_status().json()["items"]
    return [each["kind"] for each in events if each["kind"] != "batch.pushed"]


def test_a_batch_shows_its_finish_by_and_how_likely_that_is(api: Api) -> None:
    pushed = push(api, finish_in=10 * HOUR)
    assert (pushed["finish_by_chance"], pushed["at_risk"]) == (1.0, False)
    assert datetime.fromisoformat(pushed["finish_by"]) > datetime.now(UTC) + 9 * HOUR
    promise(api, timedelta(seconds=60))
    assert show(api)["finish_by_chance"] == 0


@pytest.mark.parametrize(
    ("finish_by", "message"),
    [
        ("2026-01-01T12:00:00", "must name its time zone"),
        ("soon", "must be a time, as in"),
        (1767268800, "must be a time, as in"),
        ("2020-01-01T12:00:00Z", "must be in the future; it is 20"),
        ("9999-12-31T23:59:59-12:00", "must be within 366 days"),
    ],
)
def test_an_impossible_finish_by_is_refused_and_nothing_is_stored(api: Api, finish_by: object, message: str) -> None:
    refused = api.client.post("/v1/batches", json={"name": "pilot", "jobs": [new_job()], "finish_by": finish_by})
    assert refused.status_code == 422
    assert fields_of(refused)["finish_by"].startswith(message)
    assert api.client.get("/v1/batches/pilot").status_code == 404


def test_a_risk_is_reported_once_and_once_that_it_is_over(api: Api) -> None:
    push(api)
    check_risks(runtime_of(api))
    assert (reported(api), show(api)["at_risk"]) == ([], False)
    promise(api, timedelta(minutes=10))
    for _ in range(3):
        check_risks(runtime_of(api))
    assert (reported(api), show(api)["at_risk"]) == (["batch.at_risk"], True)
    assert api.client.get("/readyz").json()["batches_at_risk"] == 1
    promise(api, 10 * HOUR)
    for _ in range(3):
        check_risks(runtime_of(api))
    assert (reported(api), show(api)["at_risk"]) == (["batch.at_risk", "batch.on_track"], False)
    assert api.client.get("/readyz").json()["batches_at_risk"] == 0


def test_the_event_and_the_log_hold_the_forecast(api: Api) -> None:
    push(api)
    promise(api, timedelta(minutes=10))
    with capture_logs() as logs:
        line = check_risks(runtime_of(api))
    _, event = api.client.get("/v1/batches/pilot/events").json()["items"]
    detail = event["detail"]
    assert detail["finish_by"] < detail["low_at"] < detail["expected_at"] < detail["high_at"]
    assert detail["chance"] < 0.9
    assert {"event": "batch.at_risk", "log_level": "warning", "batch": "pilot", **detail} in logs
    assert line.startswith("batch.at_risk pilot: ")


def find_end(api: Api, chance: float) -> timedelta:
    """An end that holds with about this probability."""
    low, high = 0.0, 7_200.0
    while high - low > 1:
        middle = (low + high) / 2
        promise(api, timedelta(seconds=middle))
        low, high = (middle, high) if show(api)["finish_by_chance"] < chance else (low, middle)
    return timedelta(seconds=high)


def test_a_probability_between_the_two_limits_is_not_reported(api: Api) -> None:
    push(api)
    promise(api, find_end(api, 0.94))
    check_risks(runtime_of(api))
    assert reported(api) == []
    promise(api, timedelta(minutes=10))
    check_risks(runtime_of(api))
    promise(api, find_end(api, 0.94))
    check_risks(runtime_of(api))
    assert reported(api) == ["batch.at_risk"]


def test_a_batch_that_is_late_is_at_risk(api: Api) -> None:
    push(api)
    promise(api, timedelta(seconds=-5))
    check_risks(runtime_of(api))
    assert (reported(api), show(api)["finish_by_chance"]) == (["batch.at_risk"], 0)


def test_a_batch_that_has_ended_is_not_at_risk_whatever_was_reported(api: Api) -> None:
    push(api, jobs=1)
    promise(api, timedelta(seconds=1))
    check_risks(runtime_of(api))
    change(api, "job", state="cancelled", ended_at=rows.NOW, due_at=None)
    assert (show(api)["at_risk"], api.client.get("/readyz").json()["batches_at_risk"]) == (False, 0)
    assert check_risks(runtime_of(api)) == "checked 0 batch(es)"


def test_a_paused_account_reports_risks_without_an_end_and_keeps_them(api: Api) -> None:
    push(api)
    with transaction(api.sessions) as session:
        account = session.execute(text("SELECT id FROM account")).scalar_one()
        transitions.pauses.pause_account(session, account, by="alice")
    promise(api, 10 * HOUR)
    check_risks(runtime_of(api))
    assert (reported(api), show(api)["finish_by_chance"]) == ([], None)
    promise(api, timedelta(minutes=10))
    check_risks(runtime_of(api))
    _, event = api.client.get("/v1/batches/pilot/events").json()["items"]
    assert (event["kind"], event["detail"]["paused"]) == ("batch.at_risk", True)
    assert set(event["detail"]) == {"finish_by", "chance", "paused"}
    promise(api, 10 * HOUR)
    check_risks(runtime_of(api))
    assert reported(api) == ["batch.at_risk"]
    with transaction(api.sessions) as session:
        transitions.pauses.resume_account(session, account, by="alice")
    check_risks(runtime_of(api))
    assert reported(api) == ["batch.at_risk", "batch.on_track"]


def test_a_risk_is_reported_without_an_end_while_a_person_is_to_decide(api: Api) -> None:
    push(api)
    with transaction(api.sessions) as session:
        job_id, account_id = session.execute(text("SELECT job.id, account.id FROM job, account LIMIT 1")).one()
        rows.change(session, "job", job_id, state="rendering", due_at=None)
        rows.add_prediction(session, job_id, account_id, "unconfirmed", posted_at=-timedelta(days=8), due_at=rows.NOW)
        transitions.retention.hand_over_unconfirmed(session, count=1)
    promise(api, 100 * 24 * HOUR)
    check_risks(runtime_of(api))
    assert (reported(api), show(api)["finish_by_chance"]) == ([], None)
    promise(api, timedelta(minutes=1))
    check_risks(runtime_of(api))
    _, event = api.client.get("/v1/batches/pilot/events").json()["items"]
    assert (event["kind"], set(event["detail"])) == ("batch.at_risk", {"finish_by", "chance", "undecided"})


def test_the_report_shows_how_long_the_busy_batches_take(api: Api) -> None:
    batch_id = push(api, finish_in=None)["id"]
    assert "pilot" not in describe_farm(runtime_of(api))
    with transaction(api.sessions) as session:
        job_id = session.execute(text("SELECT id FROM job WHERE batch_id = :id LIMIT 1"), {"id": batch_id}).scalar_one()
        account_id = session.execute(text("SELECT id FROM account")).scalar_one()
        rows.change(session, "job", job_id, state="rendering", due_at=None)
        rows.add_prediction(session, job_id, account_id, "rendering")
    assert "; pilot: 1," in describe_farm(runtime_of(api))
