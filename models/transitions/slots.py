"""How many slots of the account are free, and how many submissions it accepts now."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_one, statement
from models.lifecycle import SLOT_WINDOWS
from models.transitions.admission import RATE_WINDOW

PROBE_PAUSE = timedelta(seconds=10)
"""After a concurrency 429, one render more than `effective_slots` is tried this often."""


class AccountRoom(NamedTuple):
    """The use of an account's slots and of its rate limit right now."""

    is_held: bool  # it backs off or is paused: nothing is submitted
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

    def count_admissible(self, queue_room: int) -> int:
        """How many jobs may be admitted if the queue has room for `queue_room` messages."""
        if self.back_offs and self.submitting:
            return 0
        without_place = self.submitting - self.posting
        return max(0, min(self.free, self.submits - without_place, queue_room))


_COUNT_SLOTS = statement("""
    SELECT coalesce(back_off_until > now(), false) OR paused_at IS NOT NULL AS is_held, slots, effective_slots,
        coalesce(limited_at < now() - :probe_pause, false) AS probes, overcommit, back_offs,
        greatest(0, submits_per_minute - posted) AS rate_slots, live, stuck, submitting, posting
    FROM account,
        LATERAL (
            SELECT count(*) AS live, count(*) FILTER (WHERE state = 'submitting') AS submitting,
                count(*) FILTER (WHERE watch_windows >= :slot_windows) AS stuck,
                count(*) FILTER (WHERE state = 'submitting' AND not_before IS NOT NULL AND due_at > now()) AS posting
            FROM prediction
            WHERE account_id = account.id AND state IN ('submitting', 'unconfirmed', 'rendering')
        ) AS slots_in_use,
        LATERAL (
            SELECT count(*) AS posted FROM prediction
            WHERE account_id = account.id AND not_before > now() - :rate_window
        ) AS this_minute
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
    windows = {"rate_window": RATE_WINDOW, "probe_pause": PROBE_PAUSE, "slot_windows": SLOT_WINDOWS}
    return find_one(session, _COUNT_SLOTS, AccountRoom, account_id=account_id, **windows)
