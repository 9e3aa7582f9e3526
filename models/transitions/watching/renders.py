"""Record the provider's outcome of an accepted prediction, or the lack of one, and what a webhook reported."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import JOB_PLACE, as_json, changed_a_row, find_all, find_one, statement
from models.lifecycle import JobState, PredictionState, Reason
from models.transitions.history import REASON, change, change_first, fields, log
from models.transitions.job_release import EndedAttempt, release_job


class TimedOutWatch(NamedTuple):
    """A prediction with a watch window that ended without an outcome. It is watched on, by its provider id."""

    prediction_id: UUID
    job_id: UUID
    claim: int
    windows: int
    place: str  # BATCH/NUMBER, else the job's id


class EndSeen(NamedTuple):
    """How a render's end was seen, as far as known. Render times and the webhooks' share are learned from it."""

    by_hook: bool = False  # reported by a webhook, not by a check
    unseen: timedelta | None = None  # how long ago a check last saw it running
    execution: timedelta | None = None  # the render's duration as the provider reports it


_COMPLETED_DETAIL = """jsonb_strip_nulls(jsonb_build_object(
            'seconds', round(CAST(extract(epoch FROM ended_at - accepted_at) AS numeric), 3),
            'by', CASE WHEN :by_hook THEN 'webhook' END))"""

_COMPLETE = statement(f"""
    WITH completed AS (
        UPDATE prediction
        SET state = 'completed', ended_at = now(), inconsistent_since = NULL, outputs = :outputs,
            due_at = now(),  -- from now on, its output is to be stored
            error_code = NULL, error_message = NULL, ended_by_hook = :by_hook,
            seen_running_at = now() - CAST(:unseen AS interval), execution_seconds = :execution
        WHERE id = :prediction_id AND claim = :claim AND state = 'rendering'
        RETURNING id, job_id, account_id, is_duplicate, accepted_at, ended_at
    ), moved AS (  -- the job of a duplicate purchase stays as it is
        UPDATE job SET state = 'storing', due_at = NULL
        FROM completed WHERE job.id = completed.job_id AND job.state = 'rendering' AND NOT completed.is_duplicate
        RETURNING completed.id, job_id, account_id
    ), history AS (  -- one INSERT, so that the events have this order
        SELECT 'prediction.completed' AS kind, id, job_id, account_id, {_COMPLETED_DETAIL} AS detail FROM completed
        UNION ALL
        SELECT 'job.storing', id, job_id, account_id, '{{}}' FROM moved
    ), {log("kind", "history", "detail")}
    SELECT 1 FROM completed
""")


def complete_prediction(
    session: Session, prediction_id: UUID, claim: int, *, outputs: Sequence[str], seen: EndSeen | None = None
) -> bool:
    """The provider's outcome is a file: the job moves on to storing. The slot is free from this commit on.

    The file of a duplicate purchase is fetched without the job, which stays as it is.
    """
    seen = seen or EndSeen()
    return changed_a_row(
        session,
        _COMPLETE,
        prediction_id=prediction_id,
        claim=claim,
        outputs=as_json(list(outputs)),
        by_hook=seen.by_hook,
        unseen=seen.unseen,
        execution=seen.execution.total_seconds() if seen.execution is not None else None,
    )


_END = change(
    "prediction",
    "state = :state, ended_at = now(), due_at = NULL, error_code = :code, error_message = :message",
    "id = :prediction_id AND claim = :claim AND state = 'rendering'",
    kind="'prediction.' || state",
    detail=REASON,
    returns="id AS prediction_id, job_id, is_duplicate",
)


def end_prediction(
    session: Session,
    prediction_id: UUID,
    claim: int,
    *,
    state: PredictionState,
    reason: Reason,
    resubmit_after: timedelta | None,
) -> bool:
    """The prediction ends without a file.

    With `resubmit_after`, the job is queued again if it has attempts left. A job with a cancel request ends as
    cancelled. The end of a duplicate purchase does not move its job.
    """
    values = {"prediction_id": prediction_id, "claim": claim, "state": state.value, **reason._asdict()}
    ended = find_one(session, _END, EndedAttempt, **values)
    if ended is None:
        return False
    outcome = JobState.FAILED if resubmit_after is None else JobState.QUEUED
    release_job(session, ended, outcome, reason=reason, delay=resubmit_after or timedelta(0))
    return True


# Each window is twice as long as the one before it, up to 32 times the first.
_REQUEUE = change_first(
    """watch_windows = watch_windows + 1, claim = claim + 1,
        due_at = now() + CAST(:watch_window AS interval) * power(2, least(watch_windows, 5))""",
    "state = 'rendering' AND due_at <= now()",
    by="due_at",
    kind="'watch.timed_out'",
    detail=fields(window="watch_windows", provider_id="provider_id"),
    returns=f"id AS prediction_id, job_id, claim, watch_windows AS windows, {JOB_PLACE}",
)


def requeue_timed_out(session: Session, *, watch_window: timedelta, count: int) -> list[TimedOutWatch]:
    """Begin the next, longer watch window of renders with a window that has passed. A time-out is not an outcome."""
    return find_all(session, _REQUEUE, TimedOutWatch, watch_window=watch_window, count=count)


_NOTE_INCONSISTENT = change(
    "prediction",
    "inconsistent_since = now()",
    "id = :prediction_id AND claim = :claim AND state = 'rendering' AND inconsistent_since IS NULL",
    kind="'prediction.inconsistent'",
    detail=fields("message"),
)


def note_inconsistent(session: Session, prediction_id: UUID, claim: int, *, message: str) -> bool:
    """Record since when the provider's answers make no sense. Returns True for the first such answer."""
    return changed_a_row(session, _NOTE_INCONSISTENT, prediction_id=prediction_id, claim=claim, message=message)


_RENEW_INCONSISTENT = statement("""
    UPDATE prediction SET inconsistent_since = now()
    WHERE id = :prediction_id AND claim = :claim AND state = 'rendering' AND inconsistent_since IS NOT NULL
    RETURNING 1
""")


def renew_inconsistent(session: Session, prediction_id: UUID, claim: int) -> bool:
    """The provider's answers make no sense and nothing could be decided: restart the time that they may last."""
    return changed_a_row(session, _RENEW_INCONSISTENT, prediction_id=prediction_id, claim=claim)


_CLEAR_INCONSISTENT = statement("""
    UPDATE prediction SET inconsistent_since = NULL
    WHERE id = :prediction_id AND claim = :claim AND inconsistent_since IS NOT NULL
    RETURNING 1
""")


def clear_inconsistent(session: Session, prediction_id: UUID, claim: int) -> bool:
    """Record that the provider's answers make sense again."""
    return changed_a_row(session, _CLEAR_INCONSISTENT, prediction_id=prediction_id, claim=claim)


# Lock in the order of the ids, like every transaction that completes several, so that no two wait for each other.
_REQUEST_EARLY_CHECKS = statement("""
    WITH said AS MATERIALIZED (
        SELECT id FROM prediction
        WHERE id = ANY(CAST(:prediction_ids AS uuid[])) AND state = 'rendering'
          AND (early_check_at IS NULL OR early_check_at < now() - CAST(:quiet_for AS interval))
        ORDER BY id
        FOR NO KEY UPDATE
    )
    UPDATE prediction SET early_check_at = now() FROM said WHERE prediction.id = said.id
    RETURNING 1
""")


def request_early_checks(
    session: Session, prediction_ids: Iterable[UUID], *, quiet_for: timedelta = timedelta(0)
) -> int:
    """Request an immediate check of these renders, which may have ended. Returns how many requests were recorded.

    Renders with a request within the last `quiet_for` are left alone.
    """
    ids = sorted(prediction_ids)
    return (
        len(session.execute(_REQUEST_EARLY_CHECKS, {"prediction_ids": ids, "quiet_for": quiet_for}).all()) if ids else 0
    )


_NOTE_WEBHOOK = statement("""
    UPDATE prediction SET hooked_at = now(), hook_outcome = :outcome
    WHERE id = :prediction_id AND hooked_at IS NULL
    RETURNING 1
""")


def note_webhook(session: Session, prediction_id: UUID, *, outcome: PredictionState) -> bool:
    """Record that a verified webhook reported this outcome, whatever the state. Returns True for the first webhook."""
    return changed_a_row(session, _NOTE_WEBHOOK, prediction_id=prediction_id, outcome=outcome.value)
