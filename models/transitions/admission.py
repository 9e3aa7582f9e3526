"""From the queue into a slot: admit jobs, and claim the submissions to publish."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_all, statement
from models.tables.base import new_id
from models.transitions.history import fields, log

MINUTE = timedelta(seconds=60)
RATE_SLOT_TOLERANCE = timedelta(seconds=2)
"""A submission may be posted up to this long after it took its rate slot."""

SEND_ALLOWANCE = timedelta(seconds=2)
"""A submission may be sent up to this long after the last moment at which it may be posted; later it is not sent."""

RATE_WINDOW = MINUTE + RATE_SLOT_TOLERANCE + SEND_ALLOWANCE
"""A rate slot is free again after the provider's minute plus both allowances, so that no minute at the provider sees
one submission too many."""


class ClaimedSubmit(NamedTuple):
    """A claimed submission, to be published."""

    prediction_id: UUID
    job_id: UUID
    claim: int


# NO KEY: rows that refer to the account may be written meanwhile without waiting.
_ADMIT = statement(f"""
    WITH best AS MATERIALIZED (  -- what another dispatcher admits now is skipped
        SELECT id, priority, price FROM job
        WHERE state = 'queued' AND due_at <= now() AND cancel_requested_at IS NULL
        ORDER BY priority DESC, id
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    ), picked AS (  -- the n-th job gets the n-th of the new ids
        SELECT id, price, row_number() OVER (ORDER BY priority DESC, id) AS place FROM best
    ), admitted AS (
        UPDATE job SET state = 'rendering', due_at = NULL
        FROM picked WHERE job.id = picked.id AND job.state = 'queued'
        RETURNING job.id, picked.price, picked.place
    ), born AS (  -- due at once: the next statement of this transaction claims it
        INSERT INTO prediction (id, job_id, account_id, attempt, price, due_at)
        SELECT (CAST(:ids AS uuid[]))[place], id, :account_id,
            1 + (SELECT count(*) FROM prediction AS earlier WHERE earlier.job_id = admitted.id), price, now()
        FROM admitted
        RETURNING id, job_id, account_id, attempt
    ), {log("'prediction.created'", "born", fields(attempt="attempt"))}
    SELECT id FROM born
""")


def admit_jobs(session: Session, account_id: UUID, *, count: int) -> int:
    """Give each of the best queued jobs a slot: a prediction in `submitting`, due at once. Returns how many."""
    ids: Sequence[UUID] = [new_id() for _ in range(count)]
    return len(session.execute(_ADMIT, {"account_id": account_id, "count": count, "ids": ids}).all())


# MATERIALIZED here and in every claim: if the planner ran the inner query once per row, it would exceed the LIMIT.
_CLAIM = statement("""
    WITH due AS MATERIALIZED (
        SELECT id FROM prediction
        WHERE state = 'submitting' AND posted_at IS NULL AND due_at <= now() AND account_id = :account_id
        ORDER BY due_at, id
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE prediction
        SET claim = claim + 1, not_before = now(), due_at = now() + :lease
        FROM due WHERE prediction.id = due.id
        RETURNING prediction.id, job_id, claim
    )
    SELECT id AS prediction_id, job_id, claim FROM claimed ORDER BY id
""")


def claim_submits(session: Session, account_id: UUID, *, count: int, lease: timedelta) -> list[ClaimedSubmit]:
    """Take a rate slot for each due submission: new ones, and those with a lost message.

    The caller must hold the account's lock, and publish after the commit.
    """
    return find_all(session, _CLAIM, ClaimedSubmit, account_id=account_id, count=count, lease=lease)


_ADVANCE = statement("""
    UPDATE account SET epoch = epoch + 1, epoch_at = now() WHERE id = :account_id RETURNING epoch
""")


def advance_epoch(session: Session, account_id: UUID) -> int:
    """Count one more claim of submissions. The caller stores the number outside the database before it publishes."""
    return int(session.execute(_ADVANCE, {"account_id": account_id}).scalar_one())
