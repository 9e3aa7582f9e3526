"""How many slots of the account are free, and how many submissions it takes now."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_one, statement
from models.lifecycle import SLOT_WINDOWS
from models.transitions.admission import RATE_WINDOW

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

_TAKE_LOCK = statement("SELECT 1 FROM account WHERE id = :account_id FOR NO KEY UPDATE")


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
