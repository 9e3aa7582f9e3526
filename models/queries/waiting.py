"""The queue in the order of admission: the next job, the jobs before a given one, and the next rate slot."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import TextClause
from sqlalchemy.orm import Session

from models.db.rows import find_one, statement
from models.queries.forecasting import Whose
from models.tables.job import Job
from models.transitions.admission import ADMISSIBLE, RATE_WINDOW


class Before(NamedTuple):
    """The jobs that are admitted before a job."""

    jobs: int
    price: Decimal  # dollars for one render of each


_AFFORDABLE = "price <= coalesce((SELECT min(max_spend_per_day) FROM account), price)"
_NEXT = f"{ADMISSIBLE} AND {_AFFORDABLE}"
_BEFORE = statement(f"""
    SELECT count(*) AS jobs, coalesce(sum(price), 0) AS price FROM job
    WHERE {_NEXT} AND (priority, CAST(:id AS uuid)) > (:priority, id)
""")


def count_before(session: Session, job: Job) -> Before:
    """What is admitted before this queued job."""
    before = find_one(session, _BEFORE, Before, id=job.id, priority=job.priority)
    assert before is not None  # noqa: S101 - an aggregate has a row
    return before


_RATE_SLOT = statement("""
    SELECT not_before + CAST(:rate_window AS interval) FROM prediction
    WHERE account_id = :account_id AND not_before > now() - CAST(:rate_window AS interval)
    ORDER BY not_before DESC OFFSET (SELECT submits_per_minute - 1 FROM account WHERE id = :account_id) LIMIT 1
""")


def find_next_rate_slot(session: Session, account_id: UUID) -> datetime | None:
    """When the account has its next rate slot; None if it has one now."""
    found: datetime | None = session.execute(
        _RATE_SLOT, {"account_id": account_id, "rate_window": RATE_WINDOW}
    ).scalar()
    return found


_HAS_PAUSED = statement("""
    SELECT EXISTS (
        SELECT FROM job WHERE (id = :job_id OR batch_id = :batch_id) AND state = 'queued' AND paused_at IS NOT NULL)
""")


def has_paused(session: Session, whose: Whose) -> bool:
    """Whether a person has paused one of these jobs while it is queued."""
    return bool(session.execute(_HAS_PAUSED, whose._asdict()).scalar())


def _find_first(which: str, order: str) -> TextClause:
    return statement(f"""
        SELECT id FROM job
        WHERE {which} AND (CAST(:batch_id AS uuid) IS NULL OR batch_id = :batch_id) ORDER BY {order} LIMIT 1
    """)


_UNPAUSED = "state = 'queued' AND paused_at IS NULL"
_FIRST = (
    _find_first(_NEXT, "priority DESC, id"),
    _find_first(f"{_UNPAUSED} AND {_AFFORDABLE} AND due_at > now()", "due_at"),  # after their retry delays
    _find_first(_UNPAUSED, "priority DESC, id"),
    _find_first("state = 'queued'", "id"),
)


def find_next(session: Session, batch_id: UUID | None) -> Job | None:
    """The job of the queue, or of a batch in the queue, that is admitted first.

    If none can be admitted now, this is the first whose retry delay ends, else the first that waits for something else;
    a paused one only if all are paused.
    """
    for query in _FIRST:
        job_id = session.execute(query, {"batch_id": batch_id}).scalar()
        if job_id is not None:
            return session.get(Job, job_id)
    return None
