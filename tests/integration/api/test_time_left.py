"""Progress and the time that is left, over HTTP, by rows of a farm that works."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from cli.output import show_counts
from models import transitions
from models.db.session import transaction
from rushes.runtime import ACCOUNT
from tests.support import rows
from tests.support.api_server import Api, new_job, serve_api

MINUTE, NOW, SECOND = rows.MINUTE, rows.NOW, rows.SECOND


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with serve_api(database_url, tmp_path, render_median_seconds=100) as served:
        yield served


def add_farm(session: Session, *, slots: int = 2, submits_per_minute: int = 1000) -> UUID:
    """An account whose jobs somebody hands out and stores."""
    transitions.leadership.lead(session, "worker-1", lease=rows.MINUTE)
    transitions.leadership.see_worker(session, "worker-1", queues=["submit", "store"], threads=8)
    return rows.add_account(session, name=ACCOUNT, slots=slots, submits_per_minute=submits_per_minute)


def show_job(api: Api, job_id: UUID) -> dict[str, Any]:
    return api.client.get(f"/v1/jobs/{job_id}").raise_for_status().json()


def test_a_render_is_as_far_as_its_age_in_what_it_will_take(api: Api) -> None:
    with transaction(api.sessions) as session:
        account = add_farm(session)
        found = []
        for age in (0, 50, 500):
            job = rows.add_job(session, "rendering")
            rows.add_prediction(session, job, account, "rendering", accepted_at=-age * SECOND)
            found.append(job)
    young, old, late = (show_job(api, job) for job in found)
    assert young["progress"] < 0.1 < old["progress"] < late["progress"] < 0.9
    assert late["time_left"]["expected_seconds"] > 60  # it is five times as old as the middle one gets
    for job in (young, old, late):
        left = job["time_left"]
        assert 0 < left["low_seconds"] < left["expected_seconds"] < left["high_seconds"]


def test_a_video_that_is_being_stored_is_nearly_done(api: Api) -> None:
    with transaction(api.sessions) as session:
        account = add_farm(session)
        job = rows.add_job(session, "storing")
        rows.add_prediction(session, job, account, "completed", accepted_at=-100 * SECOND)
    shown = show_job(api, job)
    assert 0.9 < shown["progress"] < 1
    assert shown["time_left"]["expected_seconds"] < 10


def test_a_queued_job_waits_for_those_before_it(api: Api) -> None:
    with transaction(api.sessions) as session:
        add_farm(session, slots=1)
        first, second, third = (rows.add_job(session) for _ in range(3))
        urgent = rows.add_job(session, priority=9)
    expected = [show_job(api, job)["time_left"]["expected_seconds"] for job in (urgent, first, second, third)]
    assert expected == sorted(expected)
    assert expected[3] == pytest.approx(4 * expected[0], rel=0.3)
    assert show_job(api, first)["progress"] == 0


@pytest.mark.parametrize(("state", "progress"), [("succeeded", 1), ("failed", None), ("cancelled", None)])
def test_an_ended_job_has_no_time_left(api: Api, state: str, progress: float | None) -> None:
    with transaction(api.sessions) as session:
        add_farm(session)
        job = rows.add_job(session, state)
    shown = show_job(api, job)
    assert (shown["progress"], shown["time_left"]) == (progress, None)


def test_a_forecast_needs_a_leader(api: Api) -> None:
    api.push_batch("pilot", [new_job()])
    with transaction(api.sessions) as session:
        rows.add_account(session, name=ACCOUNT)
    (job,) = api.client.get("/v1/jobs?batch=pilot").json()["items"]
    for shown in (show_job(api, UUID(job["id"])), api.client.get("/v1/batches/pilot").json()):
        assert (shown["time_left"], shown["time_left_unknown"]) == (None, "no_dispatcher")


def test_a_batch_tells_when_it_will_have_ended_and_the_same_again(api: Api) -> None:
    with transaction(api.sessions) as session:
        add_farm(session, slots=2)
    pushed = api.push_batch("pilot", [new_job() for _ in range(20)])
    first, second = (api.client.get("/v1/batches/pilot").json() for _ in range(2))
    left = first["time_left"]
    assert left["expected_seconds"] == pytest.approx(20 * 138 / 2, rel=0.2)  # 138 s: the mean of what is believed
    assert left["low_seconds"] < left["expected_seconds"] < left["high_seconds"]
    assert first["seconds_left"] == pytest.approx(left["expected_seconds"], abs=0.1)
    assert (pushed["time_left"], second["time_left"]["expected_seconds"]) == (None, left["expected_seconds"])
    ends = {name: datetime.fromisoformat(left[f"{name}_at"]) for name in ("low", "expected", "high")}
    assert ends["low"] < ends["expected"] < ends["high"]


def test_a_batch_waits_for_what_was_pushed_before_it_or_is_urgent(api: Api) -> None:
    with transaction(api.sessions) as session:
        add_farm(session, slots=2)
    api.push_batch("before", [new_job() for _ in range(20)])
    api.push_batch("urgent", [new_job(priority=5) for _ in range(20)])
    api.push_batch("last", [new_job() for _ in range(20)])
    expected = [
        api.client.get(f"/v1/batches/{name}").json()["time_left"]["expected_seconds"]
        for name in ("urgent", "before", "last")
    ]
    assert expected[1] == pytest.approx(2 * expected[0], rel=0.15)
    assert expected[2] == pytest.approx(3 * expected[0], rel=0.15)


def test_the_lowest_rate_limit_holds_a_batch_back(api: Api) -> None:
    with transaction(api.sessions) as session:
        add_farm(session, slots=100, submits_per_minute=2)
    api.push_batch("pilot", [new_job() for _ in range(100)])
    assert api.client.get("/v1/batches/pilot").json()["time_left"]["low_seconds"] > 98 / 2 * 60


def test_no_more_slots_are_in_use_than_there_are(api: Api) -> None:
    with transaction(api.sessions) as session:
        account = add_farm(session, slots=2)
        batch = rows.insert(session, "batch", name="pilot", job_count=4)
        for number in range(1, 4):
            job = rows.add_job(session, "rendering", batch_id=batch, number=number)
            rows.add_prediction(session, job, account, "rendering", accepted_at=-number * SECOND)
        queued = rows.add_job(session, "queued", batch_id=batch, number=4)
    shown = api.client.get("/v1/batches/pilot").json()
    assert (shown["states"]["rendering"], shown["waiting_at_provider"]) == (3, 1)
    assert show_counts(shown) == "1 queued, 2 rendering, 1 waiting at the provider"
    waits = "waits for a slot: 2 of 2 slots, 1 waiting at the provider; it is number 1 in the queue"
    assert show_job(api, queued)["waits_for"] == waits


STOPS: dict[str, dict[str, Any]] = {
    "no_credit": {"back_offs": 1, "back_off_reason": "credit", "back_off_until": MINUTE},
    "key_rejected": {"back_offs": 1, "back_off_reason": "key", "back_off_until": MINUTE},
    "provider_unreachable": {"provider_failures": 2, "provider_failing_since": NOW},
    "spending_cap": {"max_spend_per_day": Decimal(1)},
}


@pytest.mark.parametrize("condition", STOPS)
def test_nothing_is_forecast_while_nothing_can_progress(api: Api, condition: str) -> None:
    with transaction(api.sessions) as session:
        account = add_farm(session)
        rows.change(session, "account", account, **STOPS[condition])
        batch = rows.insert(session, "batch", name="pilot", job_count=3)
        for number in range(1, 3):
            job = rows.add_job(session, "rendering", batch_id=batch, number=number)
            rows.add_prediction(session, job, account, "rendering", accepted_at=NOW, price=Decimal("0.45"))
        queued = rows.add_job(session, "queued", batch_id=batch, number=3, price=Decimal("0.36"))
    shown = api.client.get("/v1/batches/pilot").json()
    assert (shown["time_left"], shown["seconds_left"], shown["time_left_unknown"]) == (None, None, condition)
    assert shown["account"]["condition"] == condition
    assert show_job(api, queued)["time_left_unknown"] == condition
    stops_checks = condition in {"key_rejected", "provider_unreachable"}
    assert (show_job(api, job)["time_left_unknown"] == condition) is stops_checks


def test_a_queued_job_has_no_forecast_while_the_account_is_paused(api: Api) -> None:
    with transaction(api.sessions) as session:
        account = add_farm(session)
        queued, held, rendering = (rows.add_job(session, state) for state in ("queued", "rendering", "rendering"))
        rows.add_prediction(session, held, account, "submitting")
        rows.add_prediction(session, rendering, account, "rendering")
        begun, waits = (rows.insert(session, "batch", name=name, job_count=2) for name in ("begun", "waits"))
        for batch, state in ((begun, "rendering"), (waits, "rendering")):
            job = rows.add_job(session, state, batch_id=batch, number=1)
            rows.add_prediction(session, job, account, "rendering")
            rows.add_job(session, "succeeded", batch_id=batch, number=2, created_at=-300 * SECOND)
        rows.add_job(session, "queued", batch_id=waits, number=3)
        transitions.pauses.pause_account(session, account, by="alice")
    for job in (queued, held):
        shown = show_job(api, job)
        assert (shown["time_left"], shown["time_left_unknown"], shown["progress"]) == (None, "paused", 0)
        assert shown["waits_for"].startswith("the account is paused (person: alice), since ")
    shown = api.client.get("/v1/batches/waits").json()
    assert (shown["time_left"], shown["seconds_left"], shown["time_left_unknown"]) == (None, None, "paused")
    for shown in (show_job(api, rendering), api.client.get("/v1/batches/begun").json()):
        assert shown["time_left"]["expected_seconds"] > 0
        assert shown["time_left_unknown"] is None


def test_an_undecided_unconfirmed_submission_has_no_forecast(api: Api) -> None:
    with transaction(api.sessions) as session:
        account = add_farm(session)
        batch = rows.insert(session, "batch", name="pilot", job_count=2)
        handed_over, searched_for = (
            rows.add_job(session, "rendering", batch_id=batch, number=number) for number in (1, 2)
        )
        rows.add_prediction(session, handed_over, account, "unconfirmed", posted_at=-timedelta(days=8), due_at=rows.NOW)
        rows.add_prediction(session, searched_for, account, "unconfirmed", posted_at=-rows.MINUTE, due_at=rows.NOW)
        rows.add_job(session, "succeeded", batch_id=batch, number=3, created_at=-300 * SECOND)
    assert show_job(api, handed_over)["time_left"]["expected_seconds"] > 0
    with transaction(api.sessions) as session:
        assert transitions.retention.hand_over_unconfirmed(session, count=9) == 1
    shown = show_job(api, handed_over)
    assert (shown["time_left"], shown["time_left_unknown"], shown["progress"]) == (None, "undecided", None)
    shown = api.client.get("/v1/batches/pilot").json()
    assert (shown["time_left"], shown["seconds_left"], shown["time_left_unknown"]) == (None, None, "undecided")
    assert show_job(api, searched_for)["time_left"]["expected_seconds"] > 0
    with transaction(api.sessions) as session:
        other = rows.insert(session, "batch", name="other", job_count=1)
        rows.add_job(session, "queued", batch_id=other, number=1)
    assert api.client.get("/v1/batches/other").json()["time_left_unknown"] is None


def test_a_forecast_includes_the_back_off_of_the_account(api: Api) -> None:
    with transaction(api.sessions) as session:
        account = add_farm(session, slots=2)
        batch = rows.insert(session, "batch", name="pilot", job_count=2)
        jobs = [rows.add_job(session, "rendering", batch_id=batch, number=number) for number in (1, 2)]
        for job in jobs:
            rows.add_prediction(session, job, account, "submitting")
        queued = rows.add_job(session)
    found = [show_job(api, jobs[0]), api.client.get("/v1/batches/pilot").json(), show_job(api, queued)]
    with transaction(api.sessions) as session:
        rows.change(session, "account", account, back_off_until=timedelta(hours=1), back_offs=1)
    back_off = [show_job(api, jobs[0]), api.client.get("/v1/batches/pilot").json(), show_job(api, queued)]
    for before, after in zip(found, back_off, strict=True):
        assert after["time_left"]["low_seconds"] > 3_590
        longer = after["time_left"]["expected_seconds"] - before["time_left"]["expected_seconds"]
        assert longer == pytest.approx(3_600, rel=0.1)


def test_a_batch_that_has_ended_has_no_time_left(api: Api) -> None:
    with transaction(api.sessions) as session:
        add_farm(session)
        batch_id = rows.insert(session, "batch", name="pilot", job_count=1)
        rows.add_job(session, "succeeded", number=1, batch_id=batch_id)
    assert api.client.get("/v1/batches/pilot").json()["time_left"] is None


def test_storing_and_failures_are_learned_from_the_youngest_jobs(api: Api) -> None:
    with transaction(api.sessions) as session:
        account = add_farm(session)
        waiting = rows.add_job(session, "storing")
        rows.add_prediction(session, waiting, account, "completed")
        for _ in range(5):
            job = rows.add_job(session, "succeeded")
            rows.add_prediction(session, job, account, "completed", ended_at=-300 * SECOND)
    assert show_job(api, waiting)["time_left"]["expected_seconds"] > 200
    with transaction(api.sessions) as session:
        session.execute(text("DELETE FROM prediction WHERE ended_at < now() - interval '100 s'"))
    assert show_job(api, waiting)["time_left"]["expected_seconds"] < 10


def test_an_estimate_forecasts_the_turns_of_jobs_behind_the_queue(api: Api) -> None:
    def ask(count: int) -> tuple[float, float]:
        body = {"jobs": [new_job()] * count, "forecast": True}
        found = api.client.post("/v1/estimate", json=body).raise_for_status().json()
        return found["first_time_left"]["expected_seconds"], found["time_left"]["expected_seconds"]

    with transaction(api.sessions) as session:
        account = add_farm(session, slots=1)
    alone, alone_too = ask(1)
    first, last = ask(10)
    assert 60 < alone == alone_too < 300
    assert first == alone < last
    with transaction(api.sessions) as session:
        for _ in range(50):
            rows.add_job(session)
    assert ask(10)[0] > 20 * alone
    with transaction(api.sessions) as session:
        rows.change(session, "account", account, paused_at=rows.NOW)
    body = {"jobs": [new_job()], "forecast": True}
    assert api.client.post("/v1/estimate", json=body).json()["time_left"] is None
