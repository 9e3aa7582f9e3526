"""Jobs as people move them: pushed, cancelled in every state, retried."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import DEFAULT_TENANT, JobState, PredictionState, transitions
from models.db.errors import DatabaseAway
from models.db.session import Sessions, plain_url, transaction
from models.lifecycle import LIVE, NOTHING_BOUGHT
from models.tables.base import new_id
from models.transitions.jobs import NewBatch, NewJob
from tests.support import rows
from tests.support.rows import MINUTE, NOW, VIDEO_MODEL

ENDED_PREDICTIONS = sorted(frozenset(PredictionState) - LIVE)


def new_job(**changes: Any) -> NewJob:
    job = NewJob(VIDEO_MODEL, {"prompt": "a lighthouse", "duration": 6}, Decimal("0.36"), priority=0, max_attempts=3)
    return job._replace(**changes)


def test_a_batch_is_stored_in_its_order(scratch: Session) -> None:
    prompts = ["tab\tand \\ backslash", "new\nline", "\\N", "\U0001f980", "{}", '"']
    batch = transitions.jobs.insert_batch(
        scratch, NewBatch(DEFAULT_TENANT, "pilot"), [new_job(input={"prompt": each}) for each in prompts]
    )
    assert batch is not None
    stored = scratch.execute(
        text("SELECT number, input->>'prompt', state, due_at <= now() FROM job WHERE batch_id = :id ORDER BY id"),
        {"id": batch.id},
    )
    assert [tuple(row) for row in stored] == [
        (number, prompt, "queued", True) for number, prompt in enumerate(prompts, start=1)
    ]
    assert rows.kinds(scratch) == ["batch.pushed"] + ["job.pushed"] * len(prompts)


def test_a_batch_whose_name_is_taken_stores_nothing(scratch: Session) -> None:
    assert transitions.jobs.insert_batch(scratch, NewBatch(DEFAULT_TENANT, "pilot"), [new_job()])
    before = rows.read_everything(scratch)
    assert transitions.jobs.insert_batch(scratch, NewBatch(DEFAULT_TENANT, "pilot"), [new_job()]) is None
    assert rows.read_everything(scratch) == before


def test_jobs_without_a_batch_are_stored_in_their_order(scratch: Session) -> None:
    jobs = [
        transitions.jobs.insert_job(scratch, new_job(priority=priority), tenant_id=DEFAULT_TENANT)
        for priority in (3, 1, 2)
    ]
    ids = [each.id for each in jobs]
    assert [rows.read(scratch, "job", each)["priority"] for each in ids] == [3, 1, 2]
    assert ids == sorted(ids)
    assert [(each.state, each.created_at) for each in jobs] == [
        (stored["state"], stored["created_at"]) for stored in (rows.read(scratch, "job", each) for each in ids)
    ]
    assert [event["job_id"] for event in rows.list_events(scratch)] == ids


def cut_off(session: Session) -> None:
    """Lose the connection: an administrator ends it."""
    pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with psycopg.connect(plain_url(session.connection().engine.url.render_as_string(hide_password=False))) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def demote(session: Session) -> None:
    """Talk to what has become a standby."""
    session.execute(text("SET TRANSACTION READ ONLY"))


def push_one(session: Session) -> object:
    return transitions.jobs.insert_job(session, new_job(), tenant_id=DEFAULT_TENANT)


def push_many(session: Session) -> object:
    return transitions.jobs.insert_batch(session, NewBatch(DEFAULT_TENANT, "pilot"), [new_job()])


@pytest.mark.parametrize("insert", [push_one, push_many])
@pytest.mark.parametrize("befall", [cut_off, demote])
def test_a_database_that_goes_away_during_a_push_is_away(
    sessions: Sessions, befall: Callable[[Session], None], insert: Callable[[Session], object]
) -> None:
    def push() -> None:
        with transaction(sessions) as session:
            befall(session)
            insert(session)

    with pytest.raises(DatabaseAway):
        push()
    with transaction(sessions) as session:
        assert rows.count(session, "job") == 0
        assert insert(session)


@pytest.mark.parametrize(
    "wrong", [{"max_attempts": 0}, {"max_attempts": 21}, {"state": "lost"}, {"ended_at": NOW}, {"number": 1}]
)
def test_the_database_refuses_a_job_that_makes_no_sense(scratch: Session, wrong: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        rows.add_job(scratch, **({"state": "queued"} | wrong))


def test_a_queued_job_is_cancelled_at_once(scratch: Session) -> None:
    job = rows.add_job(scratch)
    assert transitions.jobs.cancel_job(scratch, job) == "cancelled"
    assert rows.read(scratch, "job", job)["due_at"] is None
    assert rows.kinds(scratch, job_id=job) == ["job.cancelled"]


def test_a_submission_that_was_not_posted_is_withdrawn_with_its_job(scratch: Session) -> None:
    render = rows.add_render(scratch, "submitting", claim=4)
    assert transitions.jobs.cancel_job(scratch, render.job_id) == "cancelled"
    prediction = rows.read(scratch, "prediction", render.prediction_id)
    assert (prediction["state"], prediction["claim"]) == ("cancelled", 5)
    assert rows.kinds(scratch, job_id=render.job_id) == ["prediction.cancelled", "job.cancelled"]
    assert transitions.submitting.begin_submit(scratch, render.prediction_id, 4, lease=MINUTE) is None


@pytest.mark.parametrize("state", ["submitting", "unconfirmed", "rendering", "completed"])
def test_a_posted_submission_can_only_be_asked_to_end(scratch: Session, state: str) -> None:
    render = rows.add_render(scratch, state, posted_at=NOW)
    before = rows.read(scratch, "job", render.job_id)
    assert [transitions.jobs.cancel_job(scratch, render.job_id) for _ in range(3)] == ["requested"] * 3
    after = dict(rows.read(scratch, "job", render.job_id))
    assert after["cancel_requested_at"] is not None
    assert after | {"cancel_requested_at": None} == before
    assert rows.read(scratch, "prediction", render.prediction_id)["state"] == state
    assert rows.kinds(scratch, job_id=render.job_id) == ["job.cancel_requested"]


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_an_ended_job_cannot_be_cancelled(scratch: Session, state: str) -> None:
    job = rows.add_job(scratch, state)
    before = rows.read_everything(scratch)
    assert transitions.jobs.cancel_job(scratch, job) is None
    assert rows.read_everything(scratch) == before


def test_an_unknown_job_cannot_be_cancelled_or_retried(scratch: Session) -> None:
    assert transitions.jobs.cancel_job(scratch, new_id()) is None
    assert transitions.retries.retry_job(scratch, new_id()) is None


@pytest.mark.parametrize("state", ["queued", "rendering", "storing", "succeeded"])
def test_only_a_failed_or_cancelled_job_is_retried(scratch: Session, state: str) -> None:
    job = rows.add_job(scratch, state)
    assert transitions.retries.retry_job(scratch, job) is None
    assert rows.read(scratch, "job", job)["state"] == state


@pytest.mark.parametrize("state", ["failed", "cancelled"])
@pytest.mark.parametrize("ended", ENDED_PREDICTIONS)
def test_a_retry_fetches_what_was_paid_for_and_else_buys_anew(scratch: Session, state: str, ended: str) -> None:
    job = rows.add_job(scratch, state, cancel_requested_at=NOW, error_code="x")
    tried = {"store_attempts": 5, "begun_at": NOW, "claim": 3, "error_code": "x"}
    prediction = rows.add_prediction(scratch, job, rows.add_account(scratch), ended, **tried)
    expected = JobState.STORING if ended == PredictionState.COMPLETED else JobState.QUEUED
    assert transitions.retries.retry_job(scratch, job) == expected
    row = rows.read(scratch, "job", job)
    assert row["state"] == expected
    cleared = ("cancel_requested_at", "error_code", "error_message", "ended_at")
    assert [row[name] for name in cleared] == [None] * len(cleared)
    assert rows.list_events(scratch, job_id=job)[-1]["detail"] == {"state": expected}
    if expected == JobState.STORING:
        output = rows.read(scratch, "prediction", prediction)
        assert (output["store_attempts"], output["claim"], output["begun_at"], output["error_code"]) == (
            0,
            4,
            None,
            None,
        )
        assert [each.job_id for each in transitions.claims.claim_stores(scratch, count=5, lease=MINUTE)] == [job]


@pytest.mark.parametrize("ended", ENDED_PREDICTIONS)
def test_a_retry_gives_as_many_attempts_as_the_job_had(scratch: Session, ended: str) -> None:
    job = rows.add_job(scratch, "failed", max_attempts=2)
    rows.add_prediction(scratch, job, rows.add_account(scratch), ended)
    transitions.retries.retry_job(scratch, job)
    consumed = ended not in NOTHING_BOUGHT
    assert rows.read(scratch, "job", job)["max_attempts"] == 2 + consumed


def test_a_job_whose_video_is_stored_is_not_retried(scratch: Session) -> None:
    job = rows.add_job(scratch, "cancelled")
    rows.add_artifact(scratch, job, rows.add_prediction(scratch, job, rows.add_account(scratch), "completed"))
    assert transitions.retries.retry_job(scratch, job) is None


def test_retries_never_exceed_twenty_attempts(scratch: Session) -> None:
    job = rows.add_job(scratch, "failed", max_attempts=20)
    rows.add_prediction(scratch, job, rows.add_account(scratch), "failed")
    assert transitions.retries.retry_job(scratch, job) == "queued"
    assert rows.read(scratch, "job", job)["max_attempts"] == 20
