"""What came of a POST is written however the database behaves meanwhile."""

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from models import Prediction, PredictionState, transitions
from models.db.session import transaction
from models.transitions.admission import ClaimedSubmit
from rushes.account_status import Condition, find_account_status
from rushes.forecasting import forecaster
from rushes.jobs.views import get_job
from rushes.runtime import ACCOUNT, Runtime
from rushes.settings import Settings
from rushes.submitting.submit import SubmitBackedOff, SubmitNotSent, submit_prediction
from sandbox.wavespeed.handle import Simulator
from tests.support import rows
from tests.support.runtimes import change
from tests.support.scripted_server import deaf_port

LEASE = 30
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(median=60) as running:
        yield running


def open_runtime(database_url: str, folder: Path, *, key: str, url: str) -> Runtime:
    settings = Settings(database_url=database_url, wavespeed_api_key=key, wavespeed_url=url, data_dir=folder)  # type: ignore[arg-type]
    return Runtime.open(settings, threads=4, application="test")


@pytest.fixture
def runtime(database_url: str, tmp_path: Path, simulator: Simulator) -> Iterator[Runtime]:
    opened = open_runtime(database_url, tmp_path, key=simulator.api_key, url=simulator.url)
    yield opened
    simulator.clear_faults()
    opened.close()


def claim_one(runtime: Runtime) -> ClaimedSubmit:
    """A job of the account's, admitted and claimed."""
    with transaction(runtime.sessions) as session:
        account = transitions.accounts.ensure_account(session, ACCOUNT, slots=5, submits_per_minute=60)
        rows.add_job(session, input={"prompt": "a fox", "duration": 6, "generate_audio": True})
        assert transitions.admission.count_free_slots(session, account)
        transitions.admission.admit_jobs(session, account, count=1)
        (claimed,) = transitions.admission.claim_submits(session, account, count=1, lease=LEASE * rows.SECOND)
    return claimed


def read_prediction(runtime: Runtime, claimed: ClaimedSubmit) -> dict[str, object]:
    with transaction(runtime.sessions) as session:
        return dict(rows.read(session, "prediction", claimed.prediction_id))


def test_an_accepted_id_outlasts_a_locked_table(
    runtime: Runtime, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = claim_one(runtime)
    submit, posting, locked = runtime.client.submit, threading.Event(), threading.Event()

    def answer_once_it_is_locked(*asked: Any, **more: Any) -> Any:
        accepted = submit(*asked, **more)
        posting.set()
        assert locked.wait(PATIENCE_SECONDS)
        return accepted

    monkeypatch.setattr(runtime.client, "submit", answer_once_it_is_locked)
    outcomes: list[str] = []
    step = threading.Thread(
        target=lambda: outcomes.append(submit_prediction(runtime, claimed.prediction_id, claimed.claim))
    )
    step.start()
    assert posting.wait(PATIENCE_SECONDS)
    with psycopg.connect(database_url) as other:
        other.execute("LOCK TABLE prediction IN SHARE MODE")
        locked.set()
        step.join(timeout=13)  # longer than lock_timeout: the first tries to write fail
        assert step.is_alive()
    step.join(timeout=PATIENCE_SECONDS)
    assert outcomes[0].startswith("accepted ")
    assert read_prediction(runtime, claimed)["state"] == PredictionState.RENDERING


def test_the_event_of_an_accepted_render_holds_its_forecast(runtime: Runtime) -> None:
    claimed = claim_one(runtime)
    with transaction(runtime.sessions) as session:
        transitions.leadership.lead(session, "worker-1", lease=rows.MINUTE)
    began = time.monotonic()
    submit_prediction(runtime, claimed.prediction_id, claimed.claim)
    with transaction(runtime.sessions) as session:
        (reported,) = rows.list_events(session, prediction_id=claimed.prediction_id, kind="prediction.rendering")
    job = get_job(runtime.sessions, claimed.job_id, forecaster=runtime.forecaster)
    assert job.progress is not None
    assert job.progress.time_left is not None
    left = reported["detail"]["time_left"]
    assert 0 < left["low_seconds"] < left["expected_seconds"] < left["high_seconds"]
    assert left == pytest.approx(job.progress.time_left.as_numbers(), abs=5 + time.monotonic() - began)


def test_the_forecast_at_the_post_was_learned_within_the_last_minute(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = claim_one(runtime)
    with transaction(runtime.sessions) as session:
        account = rows.read(session, "prediction", claimed.prediction_id)["account_id"]
        for number in range(100):
            age = timedelta(seconds=7 + number / 100)
            rows.add_render(session, "completed", account_id=account, accepted_at=-age, execution_seconds=7)
    before = runtime.forecaster.forecast_render(rows.VIDEO_MODEL, rows.INPUT)
    submit_prediction(runtime, claimed.prediction_id, claimed.claim)
    learned = runtime.forecaster.forecast_render(rows.VIDEO_MODEL, rows.INPUT)
    assert learned.expected_seconds < 20 < before.expected_seconds
    monkeypatch.setattr(forecaster.RenderTimes, "refresh", lambda *_: pytest.fail("learned twice in a minute"))
    runtime.forecaster.learn(runtime.sessions)


def test_a_post_does_not_wait_for_a_forecast(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("SELECT", None, Exception("canceling statement due to statement timeout"))

    monkeypatch.setattr(forecaster.RenderTimes, "refresh", fail)
    claimed = claim_one(runtime)
    assert submit_prediction(runtime, claimed.prediction_id, claimed.claim).startswith("accepted ")


@pytest.mark.parametrize("broken", ["learn", "forecast_render"])
def test_a_failed_forecast_costs_no_answer_and_no_submission(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(runtime.forecaster, broken, fail)
    claimed = claim_one(runtime)
    with capture_logs() as logs:
        reported = submit_prediction(runtime, claimed.prediction_id, claimed.claim)
    assert reported.endswith(PredictionState.RENDERING)
    assert [each["log_level"] for each in logs if each["event"] == "submit.forecast_failed"] == ["error"]
    with transaction(runtime.sessions) as session:
        (event,) = rows.list_events(session, prediction_id=claimed.prediction_id, kind="prediction.rendering")
    assert ("time_left" in event["detail"]) == (broken == "learn")


def test_a_submission_that_was_not_sent_is_reported_even_after_the_lease(database_url: str, tmp_path: Path) -> None:
    with deaf_port() as port:
        runtime = open_runtime(database_url, tmp_path, key="k", url=f"http://127.0.0.1:{port}")
        claimed = claim_one(runtime)
        with pytest.raises(SubmitNotSent):
            submit_prediction(runtime, claimed.prediction_id, claimed.claim)
    row = read_prediction(runtime, claimed)
    assert (row["state"], row["posted_at"]) == (PredictionState.SUBMITTING, None)
    runtime.close()


def test_an_unreachable_provider_holds_the_account_and_costs_nothing(database_url: str, tmp_path: Path) -> None:
    with deaf_port() as port:
        runtime = open_runtime(database_url, tmp_path, key="k", url=f"http://127.0.0.1:{port}")
        claimed = claim_one(runtime)
        for _ in range(2):
            with pytest.raises(SubmitNotSent, match="Connection refused"):
                submit_prediction(runtime, claimed.prediction_id, claimed.claim)
    row = read_prediction(runtime, claimed)
    assert (row["state"], row["posted_at"], row["not_before"]) == (PredictionState.SUBMITTING, None, None)
    with transaction(runtime.sessions) as session:
        status = find_account_status(session, ACCOUNT)
    assert status.condition is Condition.PROVIDER_UNREACHABLE
    assert "Connection refused" in status.message
    assert status.next_try_at is not None
    runtime.close()


def test_a_lookup_slower_than_the_rate_slot_serves_the_next_submission(
    runtime: Runtime, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup, lookups = socket.getaddrinfo, []
    provider = int(simulator.url.rpartition(":")[2])

    def take_long(*args: Any, **kwargs: Any) -> Any:
        lookups.extend(each for each in args if each == provider)  # other threads may look up other servers
        change(runtime, "prediction", not_before=Prediction.not_before - rows.DAY)
        return lookup(*args, **kwargs)

    claimed = claim_one(runtime)
    before = simulator.stats()["accepted"]
    monkeypatch.setattr(socket, "getaddrinfo", take_long)
    assert submit_prediction(runtime, claimed.prediction_id, claimed.claim).startswith("handed back: its rate slot")
    assert read_prediction(runtime, claimed)["posted_at"] is None
    with transaction(runtime.sessions) as session:
        account_id = rows.read(session, "prediction", claimed.prediction_id)["account_id"]
        (again,) = transitions.admission.claim_submits(session, account_id, count=1, lease=LEASE * rows.SECOND)
    assert submit_prediction(runtime, again.prediction_id, again.claim).startswith("accepted ")
    monkeypatch.undo()
    assert (len(lookups), simulator.stats()["accepted"]) == (1, before + 1)


def test_a_refused_account_costs_the_job_nothing(runtime: Runtime, simulator: Simulator) -> None:
    claimed = claim_one(runtime)
    simulator.set_fault("submit_429", count=1, retry_after=30)
    with pytest.raises(SubmitBackedOff):
        submit_prediction(runtime, claimed.prediction_id, claimed.claim)
    assert read_prediction(runtime, claimed)["state"] == PredictionState.REFUSED
    with transaction(runtime.sessions) as session:
        assert rows.read(session, "job", claimed.job_id)["state"] == "queued"


def test_a_second_message_of_a_claim_sends_nothing(runtime: Runtime, simulator: Simulator) -> None:
    claimed = claim_one(runtime)
    before = simulator.stats()["accepted"]
    submit_prediction(runtime, claimed.prediction_id, claimed.claim)
    assert submit_prediction(runtime, claimed.prediction_id, claimed.claim) == "stale: nothing to do"
    assert simulator.stats()["accepted"] == before + 1


def give_up(runtime: Runtime, claimed: ClaimedSubmit, *, then: str) -> None:
    """Its worker is frozen, the list does not show it, and its job goes on."""
    with transaction(runtime.sessions) as session:
        account = rows.read(session, "prediction", claimed.prediction_id)["account_id"]
        assert transitions.submitting.mark_unconfirmed(session, claimed.prediction_id, claimed.claim, message="frozen")
        assert transitions.runs.mark_not_found(session, claimed.prediction_id, why="not listed")
        if then != "queued":
            assert transitions.admission.admit_jobs(session, account, count=1) == 1
        if then == "posted":
            (again,) = transitions.admission.claim_submits(session, account, count=1, lease=LEASE * rows.SECOND)
            assert transitions.submitting.begin_submit(
                session, again.prediction_id, again.claim, lease=LEASE * rows.SECOND
            )


@pytest.mark.parametrize("back_offs", [0, 2])
@pytest.mark.parametrize(
    ("then", "states"),
    [
        ("queued", {("not_found", False), ("rendering", True)}),
        ("admitted", {("not_found", False), ("rendering", True)}),
        ("posted", {("duplicate", True), ("submitting", False)}),
    ],
)
def test_an_answer_after_not_found_goes_to_its_job_while_that_waits(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, *, then: str, states: set[tuple[str, bool]], back_offs: int
) -> None:
    claimed = claim_one(runtime)
    submit = runtime.client.submit

    def submit_and_freeze(*asked: Any, **more: Any) -> Any:
        accepted = submit(*asked, **more)
        give_up(runtime, claimed, then=then)
        return accepted

    monkeypatch.setattr(runtime.client, "submit", submit_and_freeze)
    change(runtime, "account", back_offs=back_offs)
    reported = submit_prediction(runtime, claimed.prediction_id, claimed.claim)
    assert reported.endswith("duplicate" if then == "posted" else "rendering")
    query = """
        SELECT CASE WHEN is_duplicate THEN 'duplicate' ELSE state END, provider_id IS NOT NULL
        FROM prediction WHERE job_id = :id ORDER BY attempt
    """
    with transaction(runtime.sessions) as session:
        found = session.execute(text(query), {"id": claimed.job_id}).all()
        assert {tuple(row) for row in found} == states
        assert rows.read(session, "job", claimed.job_id)["state"] == "rendering"
