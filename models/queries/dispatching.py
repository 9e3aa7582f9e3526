"""The dispatcher's reads."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_one, statement
from models.queries.accounts.back_off import WATCH_DUE
from models.queries.storing import STORE_DUE


class DispatchAccount(NamedTuple):
    """An account's health as the dispatcher needs it."""

    id: UUID
    back_offs: int
    back_off_reason: str | None
    back_off_seconds: float  # until submissions may continue; 0 or less: they may now
    check_failures: int
    check_back_off_seconds: float
    sweep_lag_seconds: float  # by how much the list was late; the estimate halves every 5 minutes
    epoch: int  # claims of submissions so far
    restore_epoch: int  # the highest RUSHES_RESTORE_EPOCH handled
    slots: int
    overcommit: int  # renders submitted beyond the slots: this many may queue at the provider, not yet rendering
    requests_owed: int  # requests that checks made beyond those granted
    own_share: float  # share of a page's entries that is ours; the others' share halves every 5 minutes
    outputs_failing: bool  # the output host has an outage: downloads wait, one at a time probes


_ACCOUNT = statement("""
    SELECT id, back_offs, back_off_reason, check_failures, epoch, restore_epoch, slots, overcommit, requests_owed,
        coalesce(extract(epoch FROM back_off_until - now())::float8, 0) AS back_off_seconds,
        coalesce(extract(epoch FROM check_back_off_until - now())::float8, 0) AS check_back_off_seconds,
        sweep_lag_seconds * power(0.5, extract(epoch FROM now() - coalesce(sweep_lag_at, now())) / 300)
            AS sweep_lag_seconds,
        1 - (1 - own_share) * power(0.5, extract(epoch FROM now() - coalesce(own_share_at, now())) / 300) AS own_share,
        outputs_failing_since IS NOT NULL AS outputs_failing
    FROM account WHERE name = :name
""")


def find_account(session: Session, name: str) -> DispatchAccount | None:
    """The account with this name."""
    return find_one(session, _ACCOUNT, DispatchAccount, name=name)


_UNTIL_DUE = statement(f"""
    SELECT extract(epoch FROM least(
        {STORE_DUE},
        (SELECT min(due_at) FROM job WHERE state = 'queued' AND due_at > now()),
        (SELECT min(due_at) FROM prediction WHERE state = 'submitting'),
        {WATCH_DUE},
        (SELECT min(due_at) FROM prediction WHERE state = 'unconfirmed' AND due_at > now())
    ) - now())::float8
""")


def find_seconds_until_due(session: Session) -> float | None:
    """Seconds until the earliest row is due. Negative if one is overdue, None if nothing waits for a time."""
    seconds: float | None = session.execute(_UNTIL_DUE).scalar_one()
    return seconds


_THREADS = statement("""
    SELECT queue, sum(threads)::int AS threads FROM worker, unnest(queues) AS queue
    WHERE seen_at > now() - interval '15 seconds'
    GROUP BY queue
""")


def count_threads(session: Session) -> dict[str, int]:
    """Threads of the living workers, by queue."""
    return {row.queue: row.threads for row in session.execute(_THREADS)}
