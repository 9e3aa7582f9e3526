"""The end of the provider's retention. It ends a render without an outcome, and the search for a lost answer."""

from datetime import timedelta

from sqlalchemy.orm import Session

from models.db.rows import statement
from models.lifecycle import SLOT_WINDOWS

RETENTION = timedelta(days=7)
"""How long the provider keeps a prediction and its outputs (its documentation). Counted from when we learned its id."""
SEARCH = RETENTION - timedelta(hours=1)
"""An unconfirmed submission is searched for until this long after its POST. Until then the list is sure to show it,
however long a run lasts."""
RETENTION_ALERT = timedelta(hours=24)
"""An event warns once, this long before the end of the retention."""

_END = statement("""
    WITH due AS MATERIALIZED (
        SELECT id FROM prediction
        WHERE state = 'rendering' AND accepted_at < now() - :retention
        ORDER BY accepted_at
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    ), ended AS (
        UPDATE prediction
        SET state = 'lost', ended_at = now(), due_at = NULL, claim = claim + 1,
            error_code = 'retention_ended', error_message = :message
        FROM due WHERE prediction.id = due.id
        RETURNING prediction.id, job_id, is_duplicate, provider_id, accepted_at
    ), moved AS (
        UPDATE job
        SET state = CASE WHEN cancel_requested_at IS NULL THEN 'failed' ELSE 'cancelled' END,
            ended_at = now(), due_at = NULL, error_code = 'retention_ended', error_message = :message
        FROM ended WHERE job.id = ended.job_id AND job.state = 'rendering' AND NOT ended.is_duplicate
        RETURNING job.id, job.state
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, detail)
        SELECT 'prediction.lost', job_id, id, jsonb_build_object(
            'code', 'retention_ended', 'message', CAST(:message AS text),
            'provider_id', provider_id, 'accepted_at', accepted_at) FROM ended
        UNION ALL
        SELECT 'job.' || moved.state, moved.id, ended.id, '{}' FROM moved JOIN ended ON ended.job_id = moved.id
    )
    SELECT id FROM ended
""")

_UNTOLD = """
    NOT EXISTS (SELECT 1 FROM event WHERE event.job_id = prediction.job_id AND event.prediction_id = prediction.id
                AND kind = 'prediction.retention_near')
"""

_FIND_NEAR = statement(f"""
    SELECT id FROM prediction
    WHERE state = 'rendering' AND accepted_at < now() - :alert_after AND {_UNTOLD}
    ORDER BY accepted_at
    LIMIT :count
    FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - constants of this file

# The row is locked by now, so this sees the events that others have recorded for it. An existing error code is kept.
_NOTE_NEAR = statement(f"""
    WITH noted AS (
        UPDATE prediction
        SET error_code = coalesce(error_code, 'retention_near'), error_message = coalesce(error_message, :message)
        WHERE id = ANY(CAST(:ids AS uuid[])) AND {_UNTOLD}
        RETURNING id, job_id, provider_id, accepted_at
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, detail)
        SELECT 'prediction.retention_near', job_id, id, jsonb_build_object(
            'provider_id', provider_id, 'ends_at', accepted_at + :retention) FROM noted
    )
    SELECT id FROM noted
""")  # noqa: S608 - constants of this file

_HAND_OVER = statement("""
    WITH due AS MATERIALIZED (
        SELECT id, watch_windows FROM prediction
        WHERE state = 'unconfirmed' AND posted_at < now() - :search AND due_at IS NOT NULL
        ORDER BY posted_at
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    ), handed_over AS (
        UPDATE prediction
        SET due_at = NULL, watch_windows = greatest(due.watch_windows, :slot_windows),
            error_code = 'undecidable', error_message = :message
        FROM due WHERE prediction.id = due.id
        RETURNING prediction.id, job_id, account_id, due.watch_windows < :slot_windows AS gives_slot_back
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
        SELECT 'prediction.undecidable', job_id, id, account_id, jsonb_build_object(
            'message', CAST(:message AS text), 'gives_slot_back', gives_slot_back) FROM handed_over
    )
    SELECT id FROM handed_over
""")


def end_retained(session: Session, *, count: int) -> int:
    """End renders that the provider no longer keeps as `lost`. Their jobs fail, or end as cancelled. Returns how many.

    They are never bought again automatically, because nobody knows whether they were paid for.
    """
    message = f"no outcome within the provider's retention of {RETENTION.days} days"
    return len(session.execute(_END, {"retention": RETENTION, "count": count, "message": message}).all())


def note_retention_near(session: Session, *, count: int) -> int:
    """Record, once each, the renders that the provider keeps for less than `RETENTION_ALERT`. Returns how many.

    The event shows that it was recorded, because `error_code` may hold something else meanwhile.
    """
    near = {"alert_after": RETENTION - RETENTION_ALERT, "count": count}
    ids = list(session.scalars(_FIND_NEAR, near))
    if not ids:
        return 0
    hours = RETENTION_ALERT / timedelta(hours=1)
    message = f"no outcome yet, and the provider keeps it for less than {hours:.0f} hours"
    return len(session.execute(_NOTE_NEAR, {"ids": ids, "retention": RETENTION, "message": message}).all())


def hand_over_unconfirmed(session: Session, *, count: int) -> int:
    """Leave unconfirmed submissions that are older than `SEARCH` to a person. Returns how many.

    Soon no list shows them any more, so runs stop searching for them. They give their slots back, but their price stays
    held: they are live until a person adopts one for them or marks them not found, or until an answer comes after all.
    """
    message = f"not found within the provider's retention of {RETENTION.days} days: decide by hand"
    values = {"search": SEARCH, "count": count, "message": message, "slot_windows": SLOT_WINDOWS}
    return len(session.execute(_HAND_OVER, values).all())
