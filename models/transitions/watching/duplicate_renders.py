"""Watch duplicate purchases: schedule their checks and record the provider's outcome."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import as_json, changed_a_row, find_all, statement
from models.lifecycle import PredictionState, Reason

# Check again after a quarter of the time since we learned of it: an old render is seen at once, a young one soon
# enough.
_SCHEDULE = statement("""
    WITH due AS MATERIALIZED (
        SELECT id FROM prediction
        WHERE state = 'duplicate' AND due_at <= now() AND outcome IS NULL
        ORDER BY due_at
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    )
    UPDATE prediction
    SET due_at = now() + least(interval '15 minutes', greatest(interval '30 seconds', (now() - accepted_at) / 4))
    FROM due WHERE prediction.id = due.id
    RETURNING prediction.id, job_id, claim
""")


_JUDGE = statement("""
    WITH judged AS (
        UPDATE prediction
        SET outcome = :outcome, outputs = :outputs, inconsistent_since = NULL,
            error_code = :code, error_message = :message,
            due_at = CASE WHEN CAST(:outcome AS text) = 'completed' THEN now() END
        WHERE id = :prediction_id AND claim = :claim AND state = 'duplicate' AND outcome IS NULL
        RETURNING id, job_id, account_id
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
        SELECT 'duplicate.' || CAST(:outcome AS text), job_id, id, account_id, jsonb_strip_nulls(jsonb_build_object(
            'code', CAST(:code AS text), 'message', CAST(:message AS text))) FROM judged
    )
    SELECT 1 FROM judged
""")


_NOTE_INCONSISTENT = statement("""
    WITH noted AS (
        UPDATE prediction SET inconsistent_since = now()
        WHERE id = :prediction_id AND claim = :claim AND state = 'duplicate' AND outcome IS NULL
          AND inconsistent_since IS NULL
        RETURNING id, job_id
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, detail)
        SELECT 'duplicate.inconsistent', job_id, id, jsonb_build_object('message', CAST(:message AS text)) FROM noted
    )
    SELECT 1 FROM noted
""")


class DuplicateStep(NamedTuple):
    """A check of a duplicate purchase, or a fetch of its video, to be published."""

    prediction_id: UUID
    job_id: UUID
    claim: int


def schedule_duplicate_checks(session: Session, *, count: int) -> list[DuplicateStep]:
    """Return the duplicate purchases to check now, and set the next check of each. A lost message thus delays a check
    by one interval."""
    return find_all(session, _SCHEDULE, DuplicateStep, count=count)


def judge_duplicate(
    session: Session,
    prediction_id: UUID,
    claim: int,
    *,
    outcome: PredictionState,
    outputs: Sequence[str] = (),
    reason: Reason | None = None,
) -> bool:
    """Record the provider's outcome of a duplicate purchase. It settles the price; a completed one is to be fetched.

    `reason` is given if the outcome is not a file. The job does not depend on it and is left alone.
    """
    code, message = reason or (None, None)
    values = {
        "prediction_id": prediction_id,
        "claim": claim,
        "outcome": outcome.value,
        "code": code,
        "message": message,
    }
    return changed_a_row(session, _JUDGE, outputs=as_json(list(outputs)) if outputs else None, **values)


def note_duplicate_inconsistent(session: Session, prediction_id: UUID, claim: int, *, message: str) -> bool:
    """Record since when the provider's answers make no sense. Returns True for the first such answer."""
    return changed_a_row(session, _NOTE_INCONSISTENT, prediction_id=prediction_id, claim=claim, message=message)
