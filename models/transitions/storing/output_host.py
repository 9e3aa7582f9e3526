"""Outages of the output host: begin one, record its probes, and release the waiting downloads at its end.

Downloads show whether the host works: an outage is on while several jobs fail and no file arrives.
"""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, find_one, statement
from models.transitions.history import fields, log
from models.transitions.storing.steps import ARRIVAL_IS_NEWS, TO_STORE

OUTAGE_JOBS = 3
"""An outage needs this many jobs that failed since a file last arrived."""

OUTAGE_AFTER = timedelta(seconds=5)
"""The first of them must have failed this long ago. If a host fails only now and then, a file arrives in that time."""

MOST_RELEASES = 3
"""A job that still fails after the ends of this many outages does not count towards the next one."""

LONGEST_SPREAD = timedelta(minutes=1)
RELEASES_PER_SECOND = 20
"""After an outage, the waiting downloads begin at about this rate, so that they do not bring the host down again."""


class OutageBegun(NamedTuple):
    """An outage that has just been detected."""

    jobs: int  # that failed since a file last arrived
    failure: str | None


class OutageEnded(NamedTuple):
    """An outage that a download has just ended."""

    seconds: float  # how long it lasted
    released: int  # downloads that were waiting for its end


_MARK = statement(f"""
    UPDATE prediction SET output_failed_at = now() WHERE id = :prediction_id AND {TO_STORE} RETURNING 1
""")


def mark_output_failed(session: Session, prediction_id: UUID) -> bool:
    """Record that the host has just failed to deliver this prediction's file."""
    return changed_a_row(session, _MARK, prediction_id=prediction_id)


_FAILED = statement("""
    UPDATE account
    SET outputs_failed_at = now(),
        outputs_failure = CASE WHEN outputs_failing_since IS NOT NULL THEN :message END,
        outputs_probes = CASE WHEN outputs_failing_since IS NOT NULL THEN outputs_probes + 1 ELSE 0 END,
        outputs_probe_at = CASE WHEN outputs_failing_since IS NOT NULL THEN now() + CAST(:delay AS interval) END
    WHERE id = :account_id
    RETURNING 1
""")


def note_output_failed(session: Session, account_id: UUID, *, message: str, probe_after: timedelta) -> bool:
    """Record that a download failed by the host's fault. If an outage is on, postpone its next probe."""
    return changed_a_row(session, _FAILED, account_id=account_id, message=message, delay=probe_after)


_OUTAGE_DETAIL = fields(since="since", jobs="jobs", message="outputs_failure")

# Downloads that failed since a file last arrived. A file that is gone for good fails again after each outage, so one
# that was released several times no longer counts.
_BEGIN = statement(f"""
    WITH failing AS (
        SELECT count(*) AS jobs, min(output_failed_at) AS since FROM prediction
        WHERE {TO_STORE} AND NOT rechecks AND output_releases < :most_releases AND output_failed_at > coalesce(
            (SELECT outputs_reached_at FROM account WHERE id = :account_id), '-infinity')
    ), begun AS (
        UPDATE account
        SET outputs_failing_since = since, outputs_probes = 0, outputs_probe_at = now(), outputs_failure = coalesce((
            SELECT error_message FROM prediction
            WHERE {TO_STORE} AND output_failed_at IS NOT NULL AND error_message IS NOT NULL
            ORDER BY output_failed_at DESC LIMIT 1), 'no download succeeded')
        FROM failing
        WHERE account.id = :account_id AND outputs_failing_since IS NULL
          AND jobs >= :jobs AND since <= now() - CAST(:after AS interval)
        RETURNING account.id, since, jobs, outputs_failure
    ), {log("'account.outputs_failing'", "begun", _OUTAGE_DETAIL, account_id="id")}
    SELECT jobs, outputs_failure AS failure FROM begun
""")


def begin_output_outage(session: Session, account_id: UUID) -> OutageBegun | None:
    """Begin an outage if at least `OUTAGE_JOBS` jobs have failed, and no file has arrived, for `OUTAGE_AFTER`."""
    limits = {"jobs": OUTAGE_JOBS, "after": OUTAGE_AFTER, "most_releases": MOST_RELEASES}
    return find_one(session, _BEGIN, OutageBegun, account_id=account_id, **limits)


_REACHED = statement(f"""
    -- The state before the update decides whether an outage ends.
    WITH before AS (
        SELECT id, outputs_failing_since AS since FROM account
        WHERE id = :account_id AND {ARRIVAL_IS_NEWS}
        FOR NO KEY UPDATE
    ), reached AS (
        UPDATE account
        SET outputs_reached_at = now(), outputs_failing_since = NULL, outputs_failure = NULL, outputs_probes = 0,
            outputs_probe_at = NULL
        FROM before WHERE account.id = before.id
    ), ended AS (
        SELECT id, since FROM before WHERE since IS NOT NULL
    ), {log("'account.outputs_back'", "ended", fields(since="since"), account_id="id")}
    SELECT extract(epoch FROM now() - since)::float8 FROM ended
""")


def note_output_reached(session: Session, account_id: UUID) -> OutageEnded | None:
    """Record that a file has arrived. If an outage is on, end it and release every download that waits for its end."""
    seconds = session.execute(_REACHED, {"account_id": account_id}).scalar_one_or_none()
    if seconds is None:
        return None
    return OutageEnded(seconds, _release_downloads(session))


# Every download that waits and that no worker has, spread evenly over a time that grows with their number.
_RELEASE = statement(f"""
    WITH waiting AS MATERIALIZED (
        SELECT id FROM prediction
        WHERE {TO_STORE} AND begun_at IS NULL AND (output_failed_at IS NOT NULL OR due_at <= now())
        ORDER BY id
        FOR NO KEY UPDATE SKIP LOCKED
    ), spread AS (  -- the downloads begin within this time
        SELECT least(CAST(:longest AS interval), count(*) * CAST(:each AS interval)) AS length FROM waiting
    )
    UPDATE prediction
    SET due_at = now() + random() * spread.length, store_attempts = 0,
        output_releases = output_releases + CAST(output_failed_at IS NOT NULL AS int)
    FROM waiting, spread WHERE prediction.id = waiting.id
    RETURNING 1
""")


def _release_downloads(session: Session) -> int:
    each = timedelta(seconds=1) / RELEASES_PER_SECOND
    return len(session.execute(_RELEASE, {"longest": LONGEST_SPREAD, "each": each}).all())


_END_UNPROBED = statement(f"""
    UPDATE account
    SET outputs_failing_since = NULL, outputs_failure = NULL, outputs_probes = 0, outputs_probe_at = NULL
    WHERE outputs_failing_since IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM prediction WHERE {TO_STORE} AND output_failed_at IS NOT NULL)
    RETURNING 1
""")


def end_unprobed_outages(session: Session) -> bool:
    """End an outage if nothing can probe it any more, because no job waits for a file."""
    return changed_a_row(session, _END_UNPROBED)
