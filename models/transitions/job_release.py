"""What becomes of a job once an attempt has ended. No other module decides this."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import as_json, statement
from models.lifecycle import JobState, Reason
from models.transitions.history import log


class EndedAttempt(NamedTuple):
    """A prediction that has just ended, or whose store step has. The caller's transaction holds its lock."""

    prediction_id: UUID
    job_id: UUID
    is_duplicate: bool = False


ATTEMPTS = """(SELECT count(*) FROM prediction
        WHERE job_id = job.id AND prediction.state NOT IN ('refused', 'not_found') AND NOT is_duplicate)"""
"""SQL: how many attempts a job has used."""

_ATTEMPTED = (JobState.RENDERING, JobState.STORING)

# The lock comes first, so that a cancel request that is being written counts.
_RELEASE = statement(f"""
    WITH decided AS (
        SELECT id, CASE
            WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
            WHEN CAST(:outcome AS text) = 'queued' AND max_attempts <= {ATTEMPTS} THEN 'failed'
            ELSE CAST(:outcome AS text) END AS state
        FROM job WHERE id = :job_id AND state = ANY(CAST(:waiting AS text[]))
        FOR NO KEY UPDATE
    ), released AS (
        UPDATE job
        SET state = decided.state,
            due_at = CASE decided.state WHEN 'queued' THEN now() + CAST(:delay AS interval) END,
            ended_at = CASE decided.state WHEN 'queued' THEN NULL ELSE now() END,
            error_code = CASE decided.state WHEN 'succeeded' THEN NULL ELSE coalesce(:code, error_code) END,
            error_message = CASE decided.state WHEN 'succeeded' THEN NULL ELSE coalesce(:message, error_message) END
        FROM decided WHERE job.id = decided.id
        RETURNING job.id, job.state
    ), {log("'job.' || state", "released", ":detail", job_id="id", prediction_id="CAST(:prediction_id AS uuid)")}
    SELECT state FROM released
""")


def _release(
    session: Session, ended: EndedAttempt, outcome: JobState, waiting: Sequence[str], **values: Any
) -> str | None:
    """Return the job's new state; None if its state is not one of `waiting`."""
    values |= {"job_id": ended.job_id, "prediction_id": ended.prediction_id, "outcome": outcome.value}
    state: str | None = session.execute(_RELEASE, values | {"waiting": list(waiting)}).scalar_one_or_none()
    return state


_LOCK = statement("SELECT 1 FROM job WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE")

_FIND_DUPLICATES = statement("""
    SELECT DISTINCT ON (job.id) job.id AS job_id, prediction_id, url, bytes, sha256
    FROM artifact JOIN prediction ON prediction.id = prediction_id JOIN job ON job.id = artifact.job_id
    WHERE artifact.job_id = ANY(CAST(:ids AS uuid[])) AND kind = 'video' AND artifact.is_duplicate
      AND removed_at IS NULL AND NOT is_outdated AND cancel_requested_at IS NULL
    ORDER BY job.id, artifact.id
""")

_GIVE_FILES = statement("""
    UPDATE artifact SET is_duplicate = false WHERE job_id = :job_id AND prediction_id = :prediction_id
""")


def follow_duplicates(session: Session, ids: Sequence[UUID], *, waiting: Sequence[str]) -> list[UUID]:
    """Let jobs in one of the states `waiting` succeed with the file of a duplicate purchase, if one is stored: it is
    paid for. Returns the jobs for which one is stored.

    The lock comes first: if a job is released and a duplicate is stored at the same instant, the second to get the lock
    sees the first one's writes.
    """
    session.execute(_LOCK, {"ids": ids})
    found = session.execute(_FIND_DUPLICATES, {"ids": ids}).all()
    nothing = {"code": None, "message": None, "delay": None}
    for kept in found:
        detail = as_json({"url": kept.url, "bytes": kept.bytes, "sha256": kept.sha256})
        duplicate = EndedAttempt(kept.prediction_id, kept.job_id)
        if _release(session, duplicate, JobState.SUCCEEDED, waiting, detail=detail, **nothing):
            session.execute(_GIVE_FILES, {"job_id": kept.job_id, "prediction_id": kept.prediction_id})
    return [kept.job_id for kept in found]


def release_job(
    session: Session,
    ended: EndedAttempt,
    outcome: JobState,
    *,
    reason: Reason | None = None,
    delay: timedelta = timedelta(0),
    detail: dict[str, Any] | None = None,
) -> None:
    """Let the job follow: it succeeds, fails, is cancelled, or is queued for another attempt after `delay`.

    A job with a cancel request is cancelled instead. A job that has used up its attempts fails instead of being queued.
    `reason` becomes the job's error; without one, an earlier error stays. `detail` is the detail of the event. A job
    that would fail or be bought again succeeds with the stored file of a duplicate purchase, if there is one. The end
    of a duplicate purchase does not affect its job, unless the job is queued and its file is stored.
    """
    if ended.is_duplicate:
        follow_duplicates(session, [ended.job_id], waiting=[JobState.QUEUED])
        return
    if outcome in (JobState.QUEUED, JobState.FAILED) and follow_duplicates(session, [ended.job_id], waiting=_ATTEMPTED):
        return
    code, message = reason or (None, None)
    _release(session, ended, outcome, _ATTEMPTED, code=code, message=message, delay=delay, detail=as_json(detail or {}))
