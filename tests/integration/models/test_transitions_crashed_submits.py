"""A submission that kills its worker is quarantined with the evidence, not tried without end."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from models import transitions
from models.transitions.reconciling.runs import CRASH_SPREAD, MAX_SUBMIT_CRASHES
from tests.support import rows
from tests.support.rows import NOW, SECOND

LEASE = timedelta(seconds=90)


@pytest.fixture
def account(scratch: Session) -> UUID:
    return rows.add_account(scratch)


@pytest.fixture
def job_id(scratch: Session) -> UUID:
    return rows.add_job(scratch)


def post(session: Session, account: UUID, job_id: UUID) -> tuple[UUID, int]:
    """Admit the job and write that it is posted; its prediction and claim."""
    rows.change(session, "job", job_id, due_at=NOW)
    assert transitions.admission.admit_jobs(session, account, count=5) == 1
    (claimed,) = transitions.admission.claim_submits(session, account, count=5, lease=LEASE)
    assert claimed.job_id == job_id
    assert transitions.submitting.begin_submit(session, claimed.prediction_id, claimed.claim, lease=LEASE)
    return claimed.prediction_id, claimed.claim


def crash(session: Session, account: UUID, job_id: UUID) -> UUID:
    """Post it, and its worker dies of it: the lease runs out."""
    prediction_id, _ = post(session, account, job_id)
    rows.change(session, "prediction", prediction_id, due_at=-SECOND)
    assert [each.prediction_id for each in transitions.submitting.mark_overdue_unconfirmed(session)] == [prediction_id]
    return prediction_id


def lose_the_answer(session: Session, account: UUID, job_id: UUID) -> UUID:
    """Post it, and the provider hangs up."""
    prediction_id, claim = post(session, account, job_id)
    assert transitions.submitting.mark_unconfirmed(session, prediction_id, claim, message="no answer")
    return prediction_id


def search_for(session: Session, prediction_id: UUID) -> None:
    assert transitions.runs.mark_not_found(session, prediction_id, why="not listed")


def read_job(session: Session, job_id: UUID) -> tuple[Any, ...]:
    job = rows.read(session, "job", job_id)
    return job["state"], job["error_code"], job["due_at"] is None, job["ended_at"] is not None


QUEUED = ("queued", None, False, False)
QUARANTINED = ("failed", "submit_killed_worker", True, True)


def test_the_third_crashed_submission_quarantines_the_job(scratch: Session, account: UUID, job_id: UUID) -> None:
    killed = []
    for _ in range(MAX_SUBMIT_CRASHES):
        assert read_job(scratch, job_id) == QUEUED
        killed.append(crash(scratch, account, job_id))
        search_for(scratch, killed[-1])
    assert read_job(scratch, job_id) == QUARANTINED
    assert "3 times" in rows.read(scratch, "job", job_id)["error_message"]
    reported = rows.list_events(scratch, job_id=job_id)
    assert [each["kind"] for each in reported][-2:] == ["prediction.not_found", "job.failed"]
    assert reported[-1]["detail"]["code"] == "submit_killed_worker"
    assert set(reported[-1]["detail"]["predictions"]) == {str(each) for each in killed}
    assert transitions.admission.admit_jobs(scratch, account, count=5) == 0


def test_a_retry_counts_anew(scratch: Session, account: UUID, job_id: UUID) -> None:
    for _ in range(MAX_SUBMIT_CRASHES):
        search_for(scratch, crash(scratch, account, job_id))
    assert transitions.retries.retry_job(scratch, job_id) == "queued"
    for _ in range(MAX_SUBMIT_CRASHES - 1):
        search_for(scratch, crash(scratch, account, job_id))
        assert read_job(scratch, job_id) == QUEUED
    search_for(scratch, crash(scratch, account, job_id))
    assert read_job(scratch, job_id) == QUARANTINED


def test_lost_answers_never_quarantine_a_job(scratch: Session, account: UUID, job_id: UUID) -> None:
    for _ in range(MAX_SUBMIT_CRASHES - 1):
        search_for(scratch, crash(scratch, account, job_id))
    for _ in range(MAX_SUBMIT_CRASHES + 1):
        search_for(scratch, lose_the_answer(scratch, account, job_id))
        assert read_job(scratch, job_id) == QUEUED
    search_for(scratch, crash(scratch, account, job_id))
    assert read_job(scratch, job_id) == QUARANTINED


def test_a_worker_that_died_after_the_provider_had_accepted_does_not_count(
    scratch: Session, account: UUID, job_id: UUID
) -> None:
    for number in range(MAX_SUBMIT_CRASHES):
        prediction_id = crash(scratch, account, job_id)
        search_for(scratch, prediction_id)
        found = {"provider_id": f"p{number}", "provider_created_at": None, "watch_window": LEASE}
        assert transitions.submitting.accept_prediction(scratch, prediction_id, adopted=True, **found) == "duplicate"
        rows.change(scratch, "prediction", prediction_id, state="failed", due_at=None, ended_at=NOW)
    assert read_job(scratch, job_id) == QUEUED


def test_a_job_that_was_cancelled_ends_as_cancelled(scratch: Session, account: UUID, job_id: UUID) -> None:
    for _ in range(MAX_SUBMIT_CRASHES - 1):
        search_for(scratch, crash(scratch, account, job_id))
    last = crash(scratch, account, job_id)
    assert transitions.jobs.cancel_job(scratch, job_id) == "requested"
    search_for(scratch, last)
    assert read_job(scratch, job_id) == ("cancelled", "submit_killed_worker", True, True)


def test_a_crash_counts_although_a_person_says_that_nothing_was_bought(
    scratch: Session, account: UUID, job_id: UUID
) -> None:
    for _ in range(MAX_SUBMIT_CRASHES - 1):
        search_for(scratch, crash(scratch, account, job_id))
    assert transitions.purchases.dismiss_unconfirmed(scratch, crash(scratch, account, job_id), by="mara")
    assert read_job(scratch, job_id) == QUARANTINED


def test_jobs_that_died_together_are_not_posted_together_again(scratch: Session, account: UUID) -> None:
    waits = []
    for _ in range(8):
        job_id = rows.add_job(scratch)
        search_for(scratch, crash(scratch, account, job_id))
        job = rows.read(scratch, "job", job_id)
        waits.append(job["due_at"] - rows.read(scratch, "prediction", prediction_of(scratch, job_id))["ended_at"])
    assert all(timedelta(0) <= wait <= CRASH_SPREAD for wait in waits)
    assert len(set(waits)) == len(waits)


def prediction_of(session: Session, job_id: UUID) -> UUID:
    query = text("SELECT id FROM prediction WHERE job_id = :job_id")
    return UUID(str(session.execute(query, {"job_id": job_id}).scalar_one()))


def test_a_job_that_lost_its_answer_is_queued_again_at_once(scratch: Session, account: UUID, job_id: UUID) -> None:
    search_for(scratch, lose_the_answer(scratch, account, job_id))
    assert transitions.admission.admit_jobs(scratch, account, count=5) == 1
