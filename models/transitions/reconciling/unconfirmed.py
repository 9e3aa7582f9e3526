"""A reconciliation run's decisions on an unconfirmed submission: not found, search again, or leave it to a person."""

import random
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import statement
from models.lifecycle import JobState, Reason
from models.transitions.history import fields, log
from models.transitions.job_release import EndedAttempt, release_job
from models.transitions.watching.retention import SEARCH

MAX_SUBMIT_CRASHES = 3
"""A job is quarantined after this many crashed submissions that never reached the provider."""

CRASH_SPREAD = timedelta(seconds=10)
"""Crashed submissions are queued again at a random time within this span, so that those that died of another's
submission do not run next to it again."""

_CRASHED = statement("""
    SELECT id FROM prediction WHERE job_id = :job_id AND state = 'not_found' AND submit_crashed ORDER BY attempt
""")

_NOT_FOUND = statement(f"""
    WITH gone AS (
        UPDATE prediction
        SET state = 'not_found', ended_at = now(), due_at = NULL
        WHERE id = :prediction_id AND state = 'unconfirmed' AND provider_id IS NULL
          AND (:decided OR due_at IS NOT NULL AND posted_at > now() - :search)
        RETURNING id, job_id, account_id, submit_crashed
    ), {log("'prediction.not_found'", "gone", fields("why"))}
    SELECT job_id, submit_crashed FROM gone
""")


def mark_not_found(session: Session, prediction_id: UUID, *, why: str, decided: bool = False) -> bool:
    """The submission was searched for and not found: nothing was bought, and the job is queued again.

    The job fails instead (`submit_killed_worker`) if this is its third crashed submission marked not found since it was
    last retried: apparently, posting it kills workers. This also applies if a person decides.

    Returns False if the submission is no longer searched for. It then waits for a person, or is so old that the list
    may have dropped it while it was read. `decided` says that a person decided.
    """
    values = {"prediction_id": prediction_id, "why": why, "decided": decided, "search": SEARCH}
    gone = session.execute(_NOT_FOUND, values).one_or_none()
    if gone is None:
        return False
    ended = EndedAttempt(prediction_id, gone.job_id)
    if not gone.submit_crashed:
        release_job(session, ended, JobState.QUEUED)
        return True
    crashed = list(session.scalars(_CRASHED, {"job_id": gone.job_id}))
    if len(crashed) < MAX_SUBMIT_CRASHES:
        release_job(session, ended, JobState.QUEUED, delay=random.random() * CRASH_SPREAD)
        return True
    message = (
        f"the worker that posted it crashed {len(crashed)} times before anything had reached the provider; "
        "which workers they were is not known"
    )
    reason = Reason("submit_killed_worker", message)
    detail = {**reason._asdict(), "predictions": [str(each) for each in crashed]}
    release_job(session, ended, JobState.FAILED, reason=reason, detail=detail)
    return True


_POSTPONE = statement("""
    UPDATE prediction SET due_at = now() + :delay
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'unconfirmed' AND due_at IS NOT NULL
""")


def postpone_unconfirmed(session: Session, ids: Sequence[UUID], *, delay: timedelta) -> None:
    """Search for these again after `delay`, except for those that are no longer searched for."""
    if ids:
        session.execute(_POSTPONE, {"ids": list(ids), "delay": delay})


_UNDECIDABLE = statement(f"""
    WITH marked AS (
        UPDATE prediction SET error_code = 'undecidable', error_message = :message
        WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'unconfirmed' AND error_code IS DISTINCT FROM 'undecidable'
        RETURNING id, job_id, account_id
    ), {log("'prediction.undecidable'", "marked", fields("message"))}
    SELECT 1 FROM marked
""")


def note_undecidable(session: Session, ids: Sequence[UUID], *, message: str) -> None:
    """Record, once each, that a person has to decide these."""
    if ids:
        session.execute(_UNDECIDABLE, {"ids": list(ids), "message": message})


_FOREIGN = statement(f"""
    WITH marked AS (
        UPDATE prediction SET error_code = 'foreign_list', error_message = :message
        WHERE id = ANY(CAST(:ids AS uuid[])) AND state IN ('unconfirmed', 'rendering')
          AND due_at IS NOT NULL AND error_code IS DISTINCT FROM 'foreign_list'
        RETURNING id, job_id, account_id
    ), {log("'prediction.foreign_list'", "marked", fields("message"))}
    SELECT 1 FROM marked
""")


def note_foreign_list(session: Session, ids: Sequence[UUID], *, message: str) -> int:
    """Record, once each, that these stay undecided because the list seems to be another account's. Returns how many."""
    return len(session.execute(_FOREIGN, {"ids": sorted(ids), "message": message}).all()) if ids else 0
