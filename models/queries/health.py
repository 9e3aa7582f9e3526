"""Answers for operators: is it working, and what does it wait for?"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, inspect, select, text
from sqlalchemy.orm import Session

from models.db.rows import find_one, statement
from models.lifecycle import SLOT_WINDOWS
from models.queries.accounts.back_off import WATCH_DUE
from models.queries.storing import STORE_DUE

EXPECTED_MIGRATION = "0026"
"""The newest migration that this code knows. A test compares it with the scripts."""


class FarmStatus(NamedTuple):
    """The state of the farm in one line."""

    queued: int
    storing: int
    live: int
    rendering: int
    unconfirmed: int
    overdue_watches: int  # renders that outlived a watch window
    stuck: int  # of the live ones, those that gave their slot back
    slots: int
    lag_seconds: float  # how long the most overdue row has been due; negative: nothing is due
    duplicates: int = 0
    stale_writes: int = 0

    @property
    def in_use(self) -> int:
        """Slots in use, at most as many as there are."""
        return min(self.slots, self.live - self.stuck)

    @property
    def overcommitted(self) -> int:
        """Renders that are submitted beyond the slots, and wait at the provider for one."""
        return self.live - self.stuck - self.in_use


class Health(NamedTuple):
    """The living workers, the leader, and everything that is held up."""

    leader: str | None
    workers: int
    leaderless_seconds: float | None = None  # since there is no leader; None: there is one, or no worker could lead
    lag_seconds: float = 0  # how long the most overdue row has been due
    batches_at_risk: int = 0  # open batches that are likely to miss their `finish_by`
    duplicates: int = 0  # found in the last seven days: paid for in addition to another
    stale_writes: int = 0  # so far: they changed nothing, because the claim or the state had changed
    unconfirmed: int = 0  # submissions with an unknown outcome
    oldest_unconfirmed_seconds: float | None = None  # since the oldest of them was posted
    foreign: int = 0  # unconfirmed submissions and renders left undecided: the list seems to be another account's
    turns_failing_seconds: float | None = None  # since when every turn of a dispatcher has failed; None: a leader works
    turn_error: str | None = None


# None is due while the account takes no submissions.
_SUBMIT_DUE = """(SELECT min(due_at) FROM prediction WHERE state = 'submitting'
                AND NOT EXISTS (SELECT 1 FROM account WHERE back_off_until > now() OR paused_at IS NOT NULL))"""

_FARM = statement(f"""
    SELECT
        (SELECT count(*) FROM job WHERE state = 'queued') AS queued,
        (SELECT count(*) FROM job WHERE state = 'storing') AS storing,
        (SELECT count(*) FROM prediction WHERE state IN ('submitting', 'unconfirmed', 'rendering')) AS live,
        (SELECT count(*) FROM prediction WHERE state = 'rendering') AS rendering,
        (SELECT count(*) FROM prediction WHERE state = 'unconfirmed') AS unconfirmed,
        (SELECT count(*) FROM prediction WHERE state = 'rendering' AND watch_windows > 0) AS overdue_watches,
        (SELECT count(*) FROM prediction
            WHERE state IN ('unconfirmed', 'rendering') AND watch_windows >= :slot_windows) AS stuck,
        (SELECT coalesce(sum(least(slots, effective_slots)), 0) FROM account)::int AS slots,
        coalesce(extract(epoch FROM now() - least(
            {STORE_DUE},
            {_SUBMIT_DUE},
            {WATCH_DUE}))::float8, 0) AS lag_seconds,
        (SELECT count(*) FROM prediction WHERE is_duplicate AND NOT counted)
            + (SELECT coalesce(sum(duplicates), 0)::bigint FROM daily_total) AS duplicates,
        (SELECT coalesce(sum(count), 0)::bigint FROM stale_write) AS stale_writes
""")


def find_farm(session: Session) -> FarmStatus:
    """Backlog, live renders, unconfirmed submissions and back-offs."""
    farm = find_one(session, _FARM, FarmStatus, slot_windows=SLOT_WINDOWS)
    assert farm is not None  # noqa: S101 - a SELECT without FROM has a row
    return farm


# Without a leader, the time counts from the end of the last lease, or from the start of the first worker that may lead.
_LEADERLESS = """(SELECT CASE WHEN lease_until > now() THEN NULL
            ELSE extract(epoch FROM now() - coalesce(lease_until, first_started))::float8 END
        FROM (SELECT min(started_at) AS first_started FROM worker
            WHERE seen_at > now() - interval '15 seconds' AND 'submit' = ANY(queues)) AS living
        LEFT JOIN leader ON role = 'dispatcher')"""
_AT_RISK = """(SELECT count(*) FROM batch WHERE finish_by > now() - interval '1 day' AND at_risk_at IS NOT NULL
        AND EXISTS (SELECT 1 FROM job WHERE batch_id = batch.id AND state IN ('queued', 'rendering', 'storing')))"""

_HEALTH = statement(f"""
    SELECT
        (SELECT holder FROM leader WHERE role = 'dispatcher' AND lease_until > now()) AS leader,
        (SELECT count(*) FROM worker WHERE seen_at > now() - interval '15 seconds') AS workers,
        {_LEADERLESS} AS leaderless_seconds,
        greatest(0, coalesce(extract(epoch FROM now() - least(
            {STORE_DUE},
            {_SUBMIT_DUE},
            {WATCH_DUE}))::float8, 0)) AS lag_seconds,
        {_AT_RISK} AS batches_at_risk,
        (SELECT count(*) FROM prediction WHERE is_duplicate AND accepted_at > now() - interval '7 days') AS duplicates,
        (SELECT coalesce(sum(count), 0)::bigint FROM stale_write) AS stale_writes,
        (SELECT count(*) FROM prediction WHERE state = 'unconfirmed') AS unconfirmed,
        (SELECT extract(epoch FROM now() - min(posted_at))::float8 FROM prediction WHERE state = 'unconfirmed')
            AS oldest_unconfirmed_seconds,
        (SELECT count(*) FROM prediction WHERE error_code = 'foreign_list'
            AND (state = 'unconfirmed' OR state = 'rendering' AND inconsistent_since IS NOT NULL)) AS foreign
""")

_FAILING_TURNS = statement("""
    SELECT extract(epoch FROM now() - turns_failing_since)::float8 AS turns_failing_seconds, turn_error FROM worker
    WHERE turns_failing_since IS NOT NULL AND seen_at > now() - interval '15 seconds'
      AND NOT EXISTS (SELECT 1 FROM leader JOIN worker AS other ON other.name = holder
          WHERE lease_until > now() AND other.turns_failing_since IS NULL)
    ORDER BY turns_failing_since LIMIT 1
""")


def find_health(session: Session) -> Health:
    """The leader, the living workers, and how long overdue work has been held up."""
    health = find_one(session, _HEALTH, Health)
    assert health is not None  # noqa: S101 - as above
    failing = session.execute(_FAILING_TURNS).first()
    return health._replace(**failing._mapping) if failing else health


_WORKERS_ON = statement("""
    SELECT count(*) FROM worker WHERE name LIKE '%@' || :host AND seen_at > now() - interval '15 seconds'
""")


def count_workers_on(session: Session, host: str) -> int:
    """Living workers of one host."""
    return int(session.execute(_WORKERS_ON, {"host": host}).scalar_one())


def find_migration(session: Session) -> str | None:
    """The database's current migration; None for an empty database."""
    if not inspect(session.connection()).has_table("alembic_version"):
        return None
    version: str | None = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return version


def read_clock(session: Session) -> datetime:
    """The database's clock. Compare every stored time with it."""
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    return now
