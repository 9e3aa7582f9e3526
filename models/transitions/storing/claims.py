"""Due store steps: the dispatcher claims them, gives them back, or takes them back from a crashed worker."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_all, statement
from models.transitions.storing.steps import NEWEST_OUTPUT

MAX_STORE_CRASHES = 3
"""A job is quarantined after this many crashed store steps in a row."""


_TAKE_BACK = statement("""
    WITH crashed AS MATERIALIZED (
        SELECT id, claim, begun_at FROM job
        WHERE state = 'storing' AND due_at <= now() AND begun_at IS NOT NULL
        ORDER BY due_at
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    ), counted AS (
        SELECT id, claim, begun_at, 1 + (
            SELECT count(*) FROM event
            WHERE event.job_id = crashed.id AND kind = 'store.crashed' AND event.id > coalesce((
                SELECT max(id) FROM event
                WHERE event.job_id = crashed.id AND kind IN ('store.delayed', 'job.retried', 'job.rechecked')), 0)
        ) AS crashes
        FROM crashed
    ), taken AS (
        UPDATE job
        SET claim = job.claim + 1, begun_at = NULL, rechecks = rechecks AND crashes < :most,
            state = CASE WHEN crashes < :most THEN state
                    WHEN cancel_requested_at IS NULL THEN 'failed' ELSE 'cancelled' END,
            due_at = CASE WHEN crashes < :most THEN due_at END,
            ended_at = CASE WHEN crashes >= :most THEN now() END,
            error_code = CASE WHEN crashes < :most THEN 'store_crashed' ELSE 'store_killed_worker' END,
            error_message = 'the worker of the store step crashed ' || crashes || ' times in a row, attempt '
                || store_attempts || ' the last; which workers they were is not known'
        FROM counted WHERE job.id = counted.id
        RETURNING job.id, state, store_attempts, crashes, counted.claim, counted.begun_at, error_code, error_message
    ), logged AS (
        INSERT INTO event (kind, job_id, detail)
        SELECT 'store.crashed', id, jsonb_build_object(
            'attempt', store_attempts, 'in_a_row', crashes, 'claim', claim, 'begun_at', begun_at) FROM taken
        UNION ALL
        SELECT 'job.' || state, id, jsonb_build_object(
            'code', error_code, 'message', error_message, 'attempts', store_attempts)
        FROM taken WHERE state <> 'storing'
    )
    SELECT id, store_attempts, crashes, state <> 'storing' FROM taken
""")


# A crashed step may have killed its worker, or only have run next to the step that did. Run such steps one at a time,
# so that the next crash identifies the step at fault.
_CLAIM = statement(f"""
    WITH due AS MATERIALIZED (
        SELECT id FROM job
        WHERE state = 'storing' AND due_at <= now() AND begun_at IS NULL AND (rechecks OR NOT :only_rechecks)
          AND (error_code IS DISTINCT FROM 'store_crashed' OR id = (
              SELECT id FROM job
              WHERE state = 'storing' AND due_at <= now() AND begun_at IS NULL AND error_code = 'store_crashed'
                AND NOT EXISTS (
                    SELECT 1 FROM job WHERE state = 'storing' AND due_at > now() AND error_code = 'store_crashed')
              ORDER BY due_at
              LIMIT 1))
        ORDER BY due_at
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    )
    UPDATE job
    SET claim = claim + 1, begun_at = NULL, due_at = now() + :lease
    FROM due WHERE job.id = due.id
    RETURNING job.id, claim, (SELECT output.id FROM {NEWEST_OUTPUT})
""")  # noqa: S608 - a constant


# Probe with the job with the fewest attempts: a file that was never tried says most about the host.
_CLAIM_PROBE = statement(f"""
    WITH turn AS (
        UPDATE account SET outputs_probe_at = now() + :lease
        WHERE id = :account_id AND outputs_failing_since IS NOT NULL AND outputs_probe_at <= now()
          AND NOT EXISTS (  -- a download under way is the probe
              SELECT 1 FROM job WHERE state = 'storing' AND begun_at IS NOT NULL AND due_at > now() AND NOT rechecks)
        RETURNING id
    ), chosen AS MATERIALIZED (
        SELECT job.id FROM job, turn
        WHERE state = 'storing' AND begun_at IS NULL AND NOT rechecks
          AND (due_at <= now() OR output_failed_at IS NOT NULL)
        ORDER BY store_attempts, due_at
        LIMIT 1
        FOR UPDATE OF job SKIP LOCKED
    )
    UPDATE job
    SET claim = claim + 1, due_at = now() + :lease
    FROM chosen WHERE job.id = chosen.id
    RETURNING job.id, claim, (SELECT output.id FROM {NEWEST_OUTPUT})
""")  # noqa: S608 - a constant


_POSTPONE = statement("""
    UPDATE job SET due_at = now() + :delay
    FROM unnest(CAST(:ids AS uuid[]), CAST(:claims AS bigint[])) AS unpublished (id, claim)
    WHERE job.id = unpublished.id AND job.claim = unpublished.claim AND state = 'storing' AND begun_at IS NULL
    RETURNING 1
""")


class ClaimedStore(NamedTuple):
    """A claimed store step, to be published."""

    job_id: UUID
    claim: int
    prediction_id: UUID


class CrashedStore(NamedTuple):
    """A store step that had begun when its lease ran out."""

    job_id: UUID
    attempts: int
    crashes: int  # in a row, without a recorded outcome between them
    quarantined: bool  # the job has ended: it is not retried automatically


def take_back_stores(session: Session, *, count: int) -> list[CrashedStore]:
    """Take back the steps whose worker crashed, so that they can be claimed again. Each crash is recorded as an event.

    After `MAX_STORE_CRASHES` crashes in a row, the job ends as failed (`store_killed_worker`), or as cancelled if that
    was requested. A delay or a hand-back in between restarts the count.
    """
    return find_all(session, _TAKE_BACK, CrashedStore, count=count, most=MAX_STORE_CRASHES)


def claim_stores(session: Session, *, count: int, lease: timedelta, only_rechecks: bool = False) -> list[ClaimedStore]:
    """Claim the store steps that are due and not begun. Steps that were taken back are claimed one at a time.

    During an outage of the output host, `only_rechecks` leaves the downloads to `claim_probe`.
    """
    return find_all(session, _CLAIM, ClaimedStore, count=count, lease=lease, only_rechecks=only_rechecks)


def claim_probe(session: Session, account_id: UUID, *, lease: timedelta) -> list[ClaimedStore]:
    """Claim one download that probes the output host, if an outage is on and its next probe is due.

    The next probe is due after `lease` at the latest, so a worker that dies during a probe costs no more time than
    that.
    """
    return find_all(session, _CLAIM_PROBE, ClaimedStore, account_id=account_id, lease=lease)


def postpone_stores(session: Session, claimed: Sequence[ClaimedStore], *, delay: timedelta) -> int:
    """Give back claimed store steps whose messages could not be published. Returns how many."""
    ids, claims = [each.job_id for each in claimed], [each.claim for each in claimed]
    return len(session.execute(_POSTPONE, {"ids": ids, "claims": claims, "delay": delay}).all())
