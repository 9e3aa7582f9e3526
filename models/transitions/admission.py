"""From the queue into a slot: admitting jobs, and claiming the submissions that are to be published."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_all, find_one, statement
from models.lifecycle import SLOT_WINDOWS
from models.tables.base import new_id

MINUTE = timedelta(seconds=60)
RATE_SLOT_TOLERANCE = timedelta(seconds=2)
"""How long after taking its rate slot a submission may still be posted."""
SEND_ALLOWANCE = timedelta(seconds=2)
"""How long after it may be posted a submission may still be sent; later it is not sent at all."""
RATE_WINDOW = MINUTE + RATE_SLOT_TOLERANCE + SEND_ALLOWANCE
"""A place is free again after the provider's minute and both allowances, so that no minute there sees one too many."""

PROBE_PAUSE = timedelta(seconds=10)
"""How often one more than `effective_slots` is tried after a 429 by concurrency."""

_COUNT_FREE_SLOTS = statement("""
    SELECT
        CASE WHEN back_off_until > now() OR paused_at IS NOT NULL THEN 0
             ELSE greatest(0, overcommit - live.count + least(slots + live.stuck, CASE
                 WHEN limited_at < now() - :probe_pause THEN effective_slots + 1 ELSE effective_slots END))
        END AS free,
        CASE WHEN back_off_until > now() OR paused_at IS NOT NULL THEN 0
             ELSE greatest(0, submits_per_minute - rate_slots.count) END AS rate_slots,
        back_offs,
        live.submitting,
        live.posting
    FROM account,
        LATERAL (
            SELECT count(*) AS count, count(*) FILTER (WHERE state = 'submitting') AS submitting,
                count(*) FILTER (WHERE watch_windows >= :slot_windows) AS stuck,
                count(*) FILTER (WHERE state = 'submitting' AND not_before IS NOT NULL AND due_at > now()) AS posting
            FROM prediction
            WHERE account_id = account.id AND state IN ('submitting', 'unconfirmed', 'rendering')
        ) AS live,
        LATERAL (
            SELECT count(*) AS count FROM prediction
            WHERE account_id = account.id AND not_before > now() - :rate_window
        ) AS rate_slots
    WHERE id = :account_id
""")

# NO KEY: rows that refer to the account may be written meanwhile, and nobody waits for them.
_TAKE_LOCK = statement("SELECT 1 FROM account WHERE id = :account_id FOR NO KEY UPDATE")

_ADMIT = statement("""
    WITH best AS MATERIALIZED (
        SELECT id, priority, price FROM job
        WHERE state = 'queued' AND due_at <= now() AND cancel_requested_at IS NULL
        ORDER BY priority DESC, id
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    ), picked AS (
        SELECT id, price, row_number() OVER (ORDER BY priority DESC, id) AS place FROM best
    ), admitted AS (
        UPDATE job SET state = 'rendering', due_at = NULL
        FROM picked WHERE job.id = picked.id AND job.state = 'queued'
        RETURNING job.id, picked.price, picked.place
    ), born AS (
        INSERT INTO prediction (id, job_id, account_id, attempt, price, due_at)
        SELECT (CAST(:ids AS uuid[]))[place], id, :account_id,
            1 + (SELECT count(*) FROM prediction AS earlier WHERE earlier.job_id = admitted.id), price, now()
        FROM admitted
        RETURNING id, job_id, attempt
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
        SELECT 'prediction.created', job_id, id, :account_id, jsonb_build_object('attempt', attempt) FROM born
    )
    SELECT id FROM born
""")

# MATERIALIZED here and in every claim: a planner that runs the inner query once per row would exceed its LIMIT.
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
    SELECT id, job_id, claim FROM claimed ORDER BY id
""")


_ADVANCE = statement("""
    UPDATE account SET epoch = epoch + 1, epoch_at = now() WHERE id = :account_id RETURNING epoch
""")


class AccountRoom(NamedTuple):
    """What an account has room for right now."""

    free: int  # slots that no live prediction holds, those given back included
    rate_slots: int  # submissions that this minute still allows
    back_offs: int  # refusals in a row; with any, one submission at a time probes
    submitting: int  # live ones that were not accepted yet
    posting: int  # those of them whose message or POST is on its way

    @property
    def submits(self) -> int:
        """How many submissions may be started now."""
        if not self.back_offs:
            return self.rate_slots
        return 0 if self.posting else min(self.rate_slots, 1)

    def count_admissible(self, queue_room: int) -> int:
        """How many jobs may be admitted, with room for so many messages."""
        if self.back_offs and self.submitting:
            return 0
        without_place = self.submitting - self.posting
        return max(0, min(self.free, self.submits - without_place, queue_room))


class ClaimedSubmit(NamedTuple):
    """A submission to be published."""

    prediction_id: UUID
    job_id: UUID
    claim: int


def count_free_slots(session: Session, account_id: UUID) -> AccountRoom | None:
    """Lock the account's row until the end of the transaction and count what it has room for.

    The lock makes admissions of two dispatchers follow each other, so that together they never exceed the limits. The
    counts are a statement of their own: it sees what was committed while this one waited for the lock. A render or an
    unconfirmed submission that outlived `SLOT_WINDOWS` watch windows is one more slot to have, until a 429 by
    concurrency has counted it.
    """
    if session.execute(_TAKE_LOCK, {"account_id": account_id}).first() is None:
        return None
    windows = {"rate_window": RATE_WINDOW, "probe_pause": PROBE_PAUSE, "slot_windows": SLOT_WINDOWS}
    return find_one(session, _COUNT_FREE_SLOTS, AccountRoom, account_id=account_id, **windows)


def admit_jobs(session: Session, account_id: UUID, *, count: int) -> int:
    """Give the best queued jobs a slot each: a prediction in `submitting`, due at once. Returns how many."""
    ids: Sequence[UUID] = [new_id() for _ in range(count)]
    return len(session.execute(_ADMIT, {"account_id": account_id, "count": count, "ids": ids}).all())


def claim_submits(session: Session, account_id: UUID, *, count: int, lease: timedelta) -> list[ClaimedSubmit]:
    """Take a rate slot for submissions that are due, new ones and those whose message was lost.

    The caller holds the account's lock and publishes after the commit.
    """
    return find_all(session, _CLAIM, ClaimedSubmit, account_id=account_id, count=count, lease=lease)


def advance_epoch(session: Session, account_id: UUID) -> int:
    """Count one more claim of submissions; the caller keeps the number outside the database before it publishes."""
    return int(session.execute(_ADVANCE, {"account_id": account_id}).scalar_one())
