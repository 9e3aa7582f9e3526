"""Batches: numbered jobs of two requests, the end of a batch, and a retry that takes it back."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import Job, transitions
from models.db.session import Sessions, transaction
from models.transitions.batches import endings
from tests.support import rows
from tests.support.locks import wait_for_a_blocked_statement
from tests.support.rows import HOUR, MINUTE, NOW

ROW = b'ltx\t{"prompt": "a"}\t0.36\t0\t3\t\\N\t\\N\n'


def add_batch(session: Session, *states: str, **columns: Any) -> UUID:
    """A batch with a job in each of these states."""
    batch = rows.insert(session, "batch", **{"name": "pilot", "job_count": len(states)} | columns)
    for number, state in enumerate(states, start=1):
        rows.add_job(session, state, batch_id=batch, number=number)
    return batch


def jobs_of(session: Session, batch: UUID) -> list[UUID]:
    return list(session.scalars(select(Job.id).where(Job.batch_id == batch).order_by(Job.number)))


def numbers_of(session: Session, batch: UUID) -> list[int | None]:
    return list(session.scalars(select(Job.number).where(Job.batch_id == batch).order_by(Job.number)))


def end(session: Session) -> None:
    transitions.endings.end_batches(session)


@pytest.mark.parametrize(
    ("states", "outcome"),
    [
        (["succeeded", "failed", "cancelled"], "ended"),
        (["cancelled", "cancelled"], "cancelled"),
        ([], "ended"),
    ],
)
def test_a_batch_ends_once_with_its_last_job(scratch: Session, states: list[str], outcome: str) -> None:
    batch = add_batch(scratch, *states)
    end(scratch)
    end(scratch)
    (event,) = rows.list_events(scratch, batch_id=batch)
    assert (event["kind"], event["detail"]["state"], event["detail"]["jobs"]) == ("batch.ended", outcome, len(states))
    assert event["detail"]["states"] == {state: states.count(state) for state in states}
    ended = rows.read(scratch, "batch", batch)
    assert ended["ended_at"] is not None
    assert (ended["cancelled_at"] is not None) == (outcome == "cancelled")


@pytest.mark.parametrize("state", ["queued", "rendering", "storing"])
def test_a_batch_with_an_unfinished_job_goes_on(scratch: Session, state: str) -> None:
    batch = add_batch(scratch, "succeeded", state)
    end(scratch)
    assert rows.read(scratch, "batch", batch)["ended_at"] is None


def test_an_open_batch_does_not_end(scratch: Session) -> None:
    batch = add_batch(scratch, "succeeded", sealed_at=None)
    end(scratch)
    assert rows.read(scratch, "batch", batch)["ended_at"] is None
    assert transitions.filling.seal_batch(scratch, batch)
    end(scratch)
    assert rows.kinds(scratch, batch_id=batch) == ["batch.sealed", "batch.ended"]


def test_an_end_has_the_time_of_the_last_job_or_of_the_seal(scratch: Session) -> None:
    for name, sealed_at in (("early", -2 * HOUR), ("late", NOW)):
        batch = rows.insert(scratch, "batch", name=name, job_count=1, created_at=-2 * HOUR, sealed_at=sealed_at)
        job = rows.add_job(scratch, "succeeded", batch_id=batch, number=1, ended_at=-HOUR)
        end(scratch)
        row = rows.read(scratch, "batch", batch)
        assert row["ended_at"] == (rows.read(scratch, "job", job)["ended_at"] if name == "early" else row["sealed_at"])


def test_a_round_goes_on_where_the_last_one_stopped(scratch: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "MOST_CHECKED", 2)
    states = ["queued", "queued", "queued", "succeeded"]
    batches = [add_batch(scratch, state, name=f"b-{number}") for number, state in enumerate(states)]
    after = transitions.endings.end_batches(scratch)
    assert after == batches[1]
    assert transitions.endings.end_batches(scratch, after=after) == batches[3]
    assert rows.read(scratch, "batch", batches[3])["ended_at"] is not None
    assert transitions.endings.end_batches(scratch, after=batches[3]) == endings.FIRST


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_retry_takes_the_end_back_and_it_is_recorded_again(scratch: Session, state: str) -> None:
    batch = add_batch(scratch, state)
    end(scratch)
    (job,) = jobs_of(scratch, batch)
    assert transitions.retries.retry_job(scratch, job, by="mara") == "queued"
    row = rows.read(scratch, "batch", batch)
    assert (row["ended_at"], row["cancelled_at"]) == (None, None)
    end(scratch)
    rows.change(scratch, "job", job, state="cancelled", ended_at=NOW, due_at=None)
    end(scratch)
    assert rows.kinds(scratch, batch_id=batch) == ["batch.ended", "batch.ended"]


def test_a_recheck_takes_the_end_back(scratch: Session) -> None:
    batch = add_batch(scratch, "failed")
    (job,) = jobs_of(scratch, batch)
    prediction = rows.add_prediction(scratch, job, rows.add_account(scratch), "completed")
    rows.add_artifact(scratch, job, prediction, kind="unverified")
    end(scratch)
    assert transitions.unverified.recheck_jobs(scratch, [job], by="mara") == [job]
    assert rows.read(scratch, "batch", batch)["ended_at"] is None


def test_a_refused_retry_leaves_the_end_alone(scratch: Session) -> None:
    batch = add_batch(scratch, "succeeded")
    end(scratch)
    assert transitions.retries.retry_job(scratch, jobs_of(scratch, batch)[0]) is None
    assert rows.read(scratch, "batch", batch)["ended_at"] is not None


def test_an_end_and_a_retry_at_once_leave_no_ended_batch_with_work(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        batch = add_batch(session, "failed")
        (job,) = jobs_of(session, batch)
    with transaction(sessions) as retrying:
        transitions.retries.retry_job(retrying, job)
        with transaction(sessions) as ending:  # skips the locked batch, and does not wait
            end(ending)
            assert rows.read(ending, "batch", batch)["ended_at"] is None
    with transaction(sessions) as session:
        end(session)
        assert rows.read(session, "batch", batch)["ended_at"] is None


def test_two_leaders_record_one_end(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        batch = add_batch(session, "succeeded")

    def lead(_: int) -> None:
        with transaction(sessions) as session:
            end(session)

    with ThreadPoolExecutor(4) as leaders:
        list(leaders.map(lead, range(8)))
    with transaction(sessions) as session:
        assert rows.kinds(session, batch_id=batch) == ["batch.ended"]


def test_two_requests_number_their_jobs_one_after_the_other(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        batch = add_batch(session, sealed_at=None)

    def add(count: int) -> int:
        with transaction(sessions) as session:
            held = transitions.filling.hold_batch(session, batch)
            assert held is not None
            return transitions.filling.add_jobs(session, held, [ROW] * count, stems=[None] * count, uses=[])

    with ThreadPoolExecutor(5) as requests:
        assert max(requests.map(add, [3] * 10)) == 30
    with transaction(sessions) as session:
        assert numbers_of(session, batch) == [*range(1, 31)]
        assert rows.read(session, "batch", batch)["job_count"] == 30
        assert rows.kinds(session).count("job.pushed") == 30


def test_a_batch_that_is_deleted_is_closed(scratch: Session) -> None:
    batch = add_batch(scratch, "succeeded", sealed_at=None)
    assert transitions.pruning.delete_batch(scratch, batch, by="mara")
    assert rows.read(scratch, "batch", batch)["sealed_at"] is not None


def test_a_seal_waits_for_jobs_that_are_being_added(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        batch = add_batch(session, sealed_at=None)

    def seal() -> bool:
        with transaction(sessions) as session:
            return transitions.filling.seal_batch(session, batch)

    with ThreadPoolExecutor(1) as other, transaction(sessions) as session:
        held = transitions.filling.hold_batch(session, batch)
        assert held is not None
        sealing = other.submit(seal)
        wait_for_a_blocked_statement(sessions)
        transitions.filling.add_jobs(session, held, [ROW], stems=["a"], uses=[])
        session.commit()
        assert sealing.result(60)
    with transaction(sessions) as session:
        assert rows.list_events(session, kind="batch.sealed")[0]["detail"] == {"jobs": 1}


@pytest.mark.parametrize("column", ["ended_at", "cancelled_at", "deleted_at"])
def test_the_database_refuses_an_open_batch_that_is_closed(scratch: Session, column: str) -> None:
    with pytest.raises(IntegrityError, match=f"ck_batch_{column}"):
        add_batch(scratch, sealed_at=None, **{column: MINUTE})
