"""A reconciliation run's decisions on an unconfirmed submission: not found, search again, or leave it to a person."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, statement
from models.transitions.submitting import WORKER_CRASHED
from models.transitions.watching.retention import SEARCH

MAX_SUBMIT_CRASHES = 3
"""A job is quarantined after this many crashed submissions that never reached the provider."""


CRASH_SPREAD = timedelta(seconds=10)
"""Crashed submissions are queued again at a random time within this span, so that those that died of another's
submission do not run next to it again."""


_NOT_FOUND = statement("""
    WITH gone AS (
        UPDATE prediction
        SET state = 'not_found', ended_at = now(), due_at = NULL
        WHERE id = :prediction_id AND state = 'unconfirmed' AND provider_id IS NULL
          AND (:decided OR due_at IS NOT NULL AND posted_at > now() - :search)
        RETURNING id, job_id, account_id
    ), crashed AS (
        SELECT count(DISTINCT crash.prediction_id) AS times, jsonb_agg(DISTINCT crash.prediction_id) AS predictions
        FROM gone
        JOIN event AS crash ON crash.job_id = gone.job_id
        JOIN prediction ON prediction.id = crash.prediction_id
        WHERE crash.kind = 'prediction.unconfirmed' AND crash.detail->>'code' = :crashed
          AND (prediction.id = gone.id OR prediction.state = 'not_found')
          AND crash.id > coalesce((
              SELECT max(id) FROM event WHERE event.job_id = gone.job_id AND kind = 'job.retried'), 0)
        HAVING bool_or(prediction.id = gone.id)
    ), killed AS (
        SELECT 'submit_killed_worker' AS code, predictions, 'the worker that posted it crashed ' || times
            || ' times before anything had reached the provider; which workers they were is not known' AS message
        FROM crashed WHERE times >= :most
    ), freed AS (
        UPDATE job
        SET state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                    WHEN killed.code IS NOT NULL THEN 'failed' ELSE 'queued' END,
            due_at = CASE WHEN cancel_requested_at IS NULL AND killed.code IS NULL
                     THEN now() + CASE WHEN EXISTS (SELECT 1 FROM crashed)
                         THEN random() * CAST(:spread AS interval) ELSE interval '0' END END,
            ended_at = CASE WHEN cancel_requested_at IS NOT NULL OR killed.code IS NOT NULL THEN now() END,
            error_code = coalesce(killed.code, job.error_code),
            error_message = coalesce(killed.message, job.error_message)
        FROM gone LEFT JOIN killed ON true
        WHERE job.id = gone.job_id AND job.state = 'rendering'
        RETURNING job.id, job.state, killed.code, killed.message, predictions
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
        SELECT 'prediction.not_found', job_id, id, account_id, jsonb_build_object('why', CAST(:why AS text)) FROM gone
        UNION ALL
        SELECT 'job.' || freed.state, freed.id, gone.id, NULL, jsonb_strip_nulls(jsonb_build_object(
            'code', code, 'message', message, 'predictions', predictions))
        FROM freed, gone
    )
    SELECT 1 FROM gone
""")


_POSTPONE = statement("""
    UPDATE prediction SET due_at = now() + :delay
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'unconfirmed' AND due_at IS NOT NULL
""")


_UNDECIDABLE = statement("""
    WITH marked AS (
        UPDATE prediction SET error_code = 'undecidable', error_message = :message
        WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'unconfirmed' AND error_code IS DISTINCT FROM 'undecidable'
        RETURNING id, job_id, account_id
    )
    INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
    SELECT 'prediction.undecidable', job_id, id, account_id, jsonb_build_object('message', CAST(:message AS text))
    FROM marked
""")


_FOREIGN = statement("""
    WITH marked AS (
        UPDATE prediction SET error_code = 'foreign_list', error_message = :message
        WHERE id = ANY(CAST(:ids AS uuid[])) AND state IN ('unconfirmed', 'rendering')
          AND due_at IS NOT NULL AND error_code IS DISTINCT FROM 'foreign_list'
        RETURNING id, job_id, account_id
    )
    INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
    SELECT 'prediction.foreign_list', job_id, id, account_id, jsonb_build_object('message', CAST(:message AS text))
    FROM marked
    RETURNING 1
""")


def mark_not_found(session: Session, prediction_id: UUID, *, why: str, decided: bool = False) -> bool:
    """The submission was searched for and not found: nothing was bought, and the job is queued again.

    The job fails instead (`submit_killed_worker`) if this is its third crashed submission marked not found since it was
    last retried: apparently, posting it kills workers. This also applies if a person decides.

    Returns False if the submission is no longer searched for. It then waits for a person, or is so old that the list
    may have dropped it while it was read. `decided` says that a person decided.
    """
    values = {"prediction_id": prediction_id, "why": why, "decided": decided, "search": SEARCH}
    crashed = {"crashed": WORKER_CRASHED, "most": MAX_SUBMIT_CRASHES, "spread": CRASH_SPREAD}
    return changed_a_row(session, _NOT_FOUND, **crashed, **values)


def postpone_unconfirmed(session: Session, ids: Sequence[UUID], *, delay: timedelta) -> None:
    """Search for these again after `delay`, except for those that are no longer searched for."""
    if ids:
        session.execute(_POSTPONE, {"ids": list(ids), "delay": delay})


def note_undecidable(session: Session, ids: Sequence[UUID], *, message: str) -> None:
    """Record, once each, that a person has to decide these."""
    if ids:
        session.execute(_UNDECIDABLE, {"ids": list(ids), "message": message})


def note_foreign_list(session: Session, ids: Sequence[UUID], *, message: str) -> int:
    """Record, once each, that these stay undecided because the list seems to be another account's. Returns how many."""
    return len(session.execute(_FOREIGN, {"ids": sorted(ids), "message": message}).all()) if ids else 0
