"""Due store steps: the dispatcher claims them, gives them back, or takes them back from a crashed worker."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import JOB_PLACE, find_all, statement
from models.lifecycle import Reason
from models.transitions.history import fields, log
from models.transitions.job_release import EndedAttempt
from models.transitions.storing.steps import TO_STORE, fail_job

MAX_STORE_CRASHES = 3
"""A video is quarantined after this many crashed store steps in a row."""

NO_LIMIT = 1_000_000_000


class ClaimedStore(NamedTuple):
    """A claimed store step, to be published."""

    prediction_id: UUID
    job_id: UUID
    claim: int
    place: str = ""  # BATCH/NUMBER, else the job's id


class CrashedStore(NamedTuple):
    """A store step that had begun when its lease ran out."""

    prediction_id: UUID
    job_id: UUID
    attempts: int
    crashes: int  # in a row, without a recorded outcome between them
    quarantined: bool  # it is not tried again automatically


_CRASH_DETAIL = fields(attempt="store_attempts", in_a_row="store_crashes", claim="claim - 1", begun_at="began_at")

_TAKE_BACK = statement(f"""
    WITH crashed AS MATERIALIZED (
        SELECT id, begun_at AS began_at FROM prediction
        WHERE {TO_STORE} AND due_at <= now() AND begun_at IS NOT NULL
        ORDER BY due_at
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    ), taken AS (  -- the claim fences the crashed worker off; after the last crash, the step is not due any more
        UPDATE prediction
        SET claim = claim + 1, begun_at = NULL, store_crashes = store_crashes + 1,
            rechecks = rechecks AND store_crashes + 1 < :most,
            due_at = CASE WHEN store_crashes + 1 < :most THEN due_at END,
            error_code = CASE WHEN store_crashes + 1 < :most THEN 'store_crashed' ELSE 'store_killed_worker' END,
            error_message = 'the worker of the store step crashed ' || store_crashes + 1 || ' times in a row, attempt '
                || store_attempts || ' the last; which workers they were is not known'
        FROM crashed WHERE prediction.id = crashed.id
        RETURNING prediction.*, began_at
    ), {log("'store.crashed'", "taken", _CRASH_DETAIL)}
    SELECT id AS prediction_id, job_id, is_duplicate, store_attempts AS attempts, store_crashes AS crashes,
        due_at IS NULL AS quarantined, error_code, error_message
    FROM taken
""")


def take_back_stores(session: Session, *, count: int) -> list[CrashedStore]:
    """Take back the steps whose worker crashed, so that they can be claimed again. Each crash is recorded as an event.

    After `MAX_STORE_CRASHES` crashes in a row, the job ends as failed (`store_killed_worker`), or as cancelled if that
    was requested. A delay or a hand-back in between restarts the count.
    """
    taken = session.execute(_TAKE_BACK, {"count": count, "most": MAX_STORE_CRASHES}).all()
    for row in taken:
        if row.quarantined:
            ended = EndedAttempt(row.prediction_id, row.job_id, row.is_duplicate)
            fail_job(session, ended, Reason(row.error_code, row.error_message), attempts=row.attempts)
    return [CrashedStore(row.prediction_id, row.job_id, row.attempts, row.crashes, row.quarantined) for row in taken]


# A crashed step may have killed its worker, or only have run next to the step that did. Run such steps one at a time,
# so that the next crash identifies the step at fault.
_CLAIM = statement(f"""
    WITH due AS MATERIALIZED (
        SELECT id FROM prediction
        WHERE {TO_STORE} AND due_at <= now() AND begun_at IS NULL AND (rechecks OR NOT :only_rechecks)
          AND (store_crashes = 0 OR id = (
              SELECT id FROM prediction
              WHERE {TO_STORE} AND due_at <= now() AND begun_at IS NULL AND store_crashes > 0
                AND (rechecks OR NOT :only_rechecks)
                AND NOT EXISTS (SELECT 1 FROM prediction WHERE {TO_STORE} AND due_at > now() AND store_crashes > 0)
              ORDER BY due_at
              LIMIT 1))
        ORDER BY due_at
        LIMIT greatest(0, least(:count, :most_running - (
            SELECT count(*) FROM prediction WHERE {TO_STORE} AND due_at > now() AND begun_at IS NOT NULL)))
        FOR UPDATE SKIP LOCKED
    )
    UPDATE prediction
    SET claim = claim + 1, due_at = now() + :lease
    FROM due WHERE prediction.id = due.id
    RETURNING prediction.id AS prediction_id, job_id, claim, {JOB_PLACE}
""")


def claim_stores(
    session: Session, *, count: int, lease: timedelta, only_rechecks: bool = False, most_running: int = NO_LIMIT
) -> list[ClaimedStore]:
    """Claim the store steps that are due and not begun. Steps that were taken back are claimed one at a time.

    During an outage of the output host, `only_rechecks` leaves the downloads to `claim_probe`. With the
    claimed steps, at most `most_running` steps run.
    """
    limits = {"count": count, "most_running": most_running, "only_rechecks": only_rechecks}
    return find_all(session, _CLAIM, ClaimedStore, lease=lease, **limits)


# Probe with the prediction with the fewest attempts: a file that was never tried says most about the host.
_CLAIM_PROBE = statement(f"""
    WITH turn AS (  -- the next probe is due when this one's lease ends, whatever becomes of it
        UPDATE account SET outputs_probe_at = now() + :lease
        WHERE id = :account_id AND outputs_failing_since IS NOT NULL AND outputs_probe_at <= now()
          AND NOT EXISTS (  -- a download under way is the probe
              SELECT 1 FROM prediction WHERE {TO_STORE} AND begun_at IS NOT NULL AND due_at > now() AND NOT rechecks)
        RETURNING id
    ), chosen AS MATERIALIZED (
        SELECT prediction.id FROM prediction, turn
        WHERE {TO_STORE} AND begun_at IS NULL AND NOT rechecks
          AND (due_at <= now() OR output_failed_at IS NOT NULL)
        ORDER BY store_attempts, due_at
        LIMIT 1
        FOR UPDATE OF prediction SKIP LOCKED
    )
    UPDATE prediction
    SET claim = claim + 1, due_at = now() + :lease
    FROM chosen WHERE prediction.id = chosen.id
    RETURNING prediction.id AS prediction_id, job_id, claim, {JOB_PLACE}
""")


def claim_probe(session: Session, account_id: UUID, *, lease: timedelta) -> list[ClaimedStore]:
    """Claim one download that probes the output host, if an outage is on and its next probe is due.

    The next probe is due after `lease` at the latest, so a worker that dies during a probe costs no more time than
    that.
    """
    return find_all(session, _CLAIM_PROBE, ClaimedStore, account_id=account_id, lease=lease)


_POSTPONE = statement(f"""
    UPDATE prediction SET due_at = now() + :delay
    FROM unnest(CAST(:ids AS uuid[]), CAST(:claims AS bigint[])) AS unpublished (id, claim)
    WHERE prediction.id = unpublished.id AND prediction.claim = unpublished.claim AND {TO_STORE} AND begun_at IS NULL
    RETURNING 1
""")


def postpone_stores(session: Session, claimed: Sequence[ClaimedStore], *, delay: timedelta) -> int:
    """Give back claimed store steps whose messages could not be published. Returns how many."""
    ids, claims = [each.prediction_id for each in claimed], [each.claim for each in claimed]
    return len(session.execute(_POSTPONE, {"ids": ids, "claims": claims, "delay": delay}).all())
