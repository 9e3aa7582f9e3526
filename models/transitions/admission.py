"""From the queue into a slot: count the free slots, admit jobs, and claim the submissions to publish."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import JOB_PLACE, find_all, find_one, statement
from models.lifecycle import SLOT_WINDOWS
from models.money import SPENT_TODAY, first_id_of_today
from models.tables.base import new_id
from models.tables.worker import STORE_PROBLEM
from models.transitions.history import fields, log
from models.transitions.storing.steps import TO_STORE

MINUTE = timedelta(seconds=60)
RATE_SLOT_TOLERANCE = timedelta(seconds=2)
"""A submission may be posted up to this long after it took its rate slot."""

SEND_ALLOWANCE = timedelta(seconds=2)
"""A submission may be sent up to this long after the last moment at which it may be posted; later it is not sent."""

RATE_WINDOW = MINUTE + RATE_SLOT_TOLERANCE + SEND_ALLOWANCE
"""A rate slot is free again after the provider's minute plus both allowances, so that no minute at the provider sees
one submission too many."""


PROBE_PAUSE = timedelta(seconds=10)
"""After a concurrency 429, one render more than `effective_slots` is tried this often."""


class AccountRoom(NamedTuple):
    """The use of an account's slots and of its rate limit right now."""

    is_held: bool  # it backs off or is paused, or no video can be kept: nothing is submitted
    slots: int
    effective_slots: int | None  # learned from a concurrency 429
    probes: bool  # the last such 429 is old enough to try one render more
    overcommit: int
    rate_slots: int  # submissions that the rate limit still allows in this minute
    back_offs: int  # refusals in a row; above 0, one submission at a time probes
    live: int  # live predictions
    stuck: int  # of these, the ones that gave their slot back
    submitting: int  # of these, the ones not accepted yet
    posting: int  # of those, the ones with a message or a POST under way
    uploading: int = 0  # submissions that wait for a file to be sent; they ask for no rate slot yet
    spend_left: Decimal | None = None  # dollars that may still be bought today; None: no cap, or not counted

    @property
    def free(self) -> int:
        """Slots that no live prediction holds. A stuck prediction adds one, until a concurrency 429 has counted it."""
        most = self.slots + self.stuck
        if self.effective_slots is not None:
            most = min(most, self.effective_slots + self.probes)
        return 0 if self.is_held else max(0, most + self.overcommit - self.live)

    @property
    def submits(self) -> int:
        """How many submissions may be started now."""
        if self.is_held:
            return 0
        if not self.back_offs:
            return self.rate_slots
        return 0 if self.posting else min(self.rate_slots, 1)

    @property
    def without_place(self) -> int:
        """Submissions that were handed back and want a rate slot."""
        return max(0, self.submitting - self.posting - self.uploading)

    def count_admissible(self, queue_room: int) -> int:
        """How many jobs may be admitted if the queue has room for `queue_room` messages."""
        if self.back_offs and self.submitting:
            return 0
        return max(0, min(self.free, self.submits - self.without_place, queue_room))


ROOM = f"""coalesce(back_off_until > now(), false) OR paused_at IS NOT NULL OR {STORE_PROBLEM} IS NOT NULL AS is_held,
        slots, effective_slots,
        coalesce(limited_at < now() - CAST(:probe_pause AS interval), false) AS probes, overcommit, back_offs,
        greatest(0, submits_per_minute - posted) AS rate_slots, live, stuck, submitting, posting, uploading"""
IN_USE = """LATERAL (
            SELECT count(*) AS live, count(*) FILTER (WHERE state = 'submitting') AS submitting,
                count(*) FILTER (WHERE watch_windows >= :slot_windows) AS stuck,
                count(*) FILTER (WHERE state = 'submitting' AND not_before IS NOT NULL AND due_at > now()) AS posting,
                count(*) FILTER (WHERE state = 'submitting' AND not_before IS NULL AND due_at > now()) AS uploading
            FROM prediction
            WHERE account_id = account.id AND state IN ('submitting', 'unconfirmed', 'rendering')
        ) AS slots_in_use,
        LATERAL (
            SELECT count(*) AS posted FROM prediction
            WHERE account_id = account.id AND not_before > now() - CAST(:rate_window AS interval)
        ) AS this_minute"""
"""SQL: the columns of an `AccountRoom`, and the tables to join with the account for them; `ROOM_VALUES` binds both."""
ROOM_VALUES = {"rate_window": RATE_WINDOW, "probe_pause": PROBE_PAUSE, "slot_windows": SLOT_WINDOWS}

_COUNT_SLOTS = statement(f"""
    SELECT {ROOM},
        max_spend_per_day - CASE WHEN max_spend_per_day IS NOT NULL THEN ({SPENT_TODAY}) END AS spend_left
    FROM account, {IN_USE}
    WHERE id = :account_id
""")

_TAKE_LOCK = statement("SELECT 1 FROM account WHERE id = :account_id FOR NO KEY UPDATE")


def count_free_slots(session: Session, account_id: UUID) -> AccountRoom | None:
    """Lock the account's row until the end of the transaction, and count how much room the account has.

    The lock serialises the admissions of two dispatchers, so that together they never exceed the limits. A second
    statement counts, so it sees everything that was committed while the first waited for the lock.
    """
    if session.execute(_TAKE_LOCK, {"account_id": account_id}).first() is None:
        return None
    values = {"account_id": account_id, "today": first_id_of_today(), **ROOM_VALUES}
    return find_one(session, _COUNT_SLOTS, AccountRoom, **values)


OPEN_DUPLICATE = f"is_duplicate AND NOT is_outdated AND (prediction.state = 'rendering' OR {TO_STORE})"
"""SQL: a duplicate purchase that may still give its job a file. Until it ends, the job is not bought again."""

# `coalesce` keeps the planner from `ix_job_due`: with a long history it expects few due jobs, and would sort the whole
# queue.
ADMISSIBLE = f"""state = 'queued' AND paused_at IS NULL AND cancel_requested_at IS NULL
          AND coalesce(due_at <= now(), false)
          AND id <> ALL (ARRAY(SELECT job_id FROM prediction WHERE {OPEN_DUPLICATE}))"""
"""SQL: a job that is admitted when its turn comes, unless it costs too much."""


class ClaimedSubmit(NamedTuple):
    """A claimed submission, to be published."""

    prediction_id: UUID
    job_id: UUID
    claim: int
    place: str = ""  # BATCH/NUMBER, else the job's id


# NO KEY: rows that refer to the account may be written meanwhile without waiting.
_ADMIT = statement(f"""
    WITH best AS MATERIALIZED (  -- what another dispatcher admits now is skipped
        SELECT id, priority, price FROM job
        WHERE {ADMISSIBLE}
          AND price <= coalesce((SELECT max_spend_per_day FROM account WHERE id = :account_id), price)
        ORDER BY priority DESC, id LIMIT :count
        FOR UPDATE SKIP LOCKED
    ), summed AS (  -- the n-th job gets the n-th of the new ids
        SELECT id, price, row_number() OVER best_first AS place, sum(price) OVER best_first AS total
        FROM best WINDOW best_first AS (ORDER BY priority DESC, id)
    ), picked AS (
        SELECT * FROM summed WHERE total <= coalesce(CAST(:spend_left AS numeric), total)
    ), admitted AS (
        UPDATE job SET state = 'rendering', due_at = NULL
        FROM picked WHERE job.id = picked.id AND job.state = 'queued' AND paused_at IS NULL
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


def admit_jobs(session: Session, account_id: UUID, *, count: int, spend_left: Decimal | None = None) -> int:
    """Give each of the best queued jobs a slot: a prediction in `submitting`, due at once. Returns how many.

    The caller must hold the account's lock. The first job that costs more than is left of `spend_left` ends the
    admission, so that cheaper jobs do not overtake it. One that costs more than a whole day's cap holds up no other.
    """
    ids: Sequence[UUID] = [new_id() for _ in range(count)]
    values = {"account_id": account_id, "count": count, "ids": ids, "spend_left": spend_left}
    return len(session.execute(_ADMIT, values).all())


# MATERIALIZED here and in every claim: if the planner ran the inner query once per row, it would exceed the LIMIT.
_CLAIM = statement(f"""
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
    SELECT id AS prediction_id, job_id, claim, {JOB_PLACE} FROM claimed ORDER BY id
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
