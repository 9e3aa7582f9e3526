"""The end of the provider's retention. It ends a render without an outcome, and the search for a lost answer."""

from datetime import timedelta

from sqlalchemy.orm import Session

from models.db.rows import find_all, statement
from models.lifecycle import SLOT_WINDOWS, JobState, Reason
from models.transitions.history import change_first, fields, log
from models.transitions.job_release import EndedAttempt, release_job

RETENTION = timedelta(days=7)
"""How long the provider keeps a prediction and its outputs (its documentation). Counted from when we learned its id."""

SEARCH = RETENTION - timedelta(hours=1)
"""An unconfirmed submission is searched for until this long after its POST. Until then the list is sure to show it,
however long a run lasts."""

RETENTION_ALERT = timedelta(hours=24)
"""An event warns once, this long before the end of the retention."""

_END = change_first(
    "state = 'lost', ended_at = now(), due_at = NULL, claim = claim + 1, error_code = :code, error_message = :message",
    "state = 'rendering' AND accepted_at < now() - :retention",
    by="accepted_at",
    kind="'prediction.lost'",
    detail=fields("code", "message", provider_id="provider_id", accepted_at="accepted_at"),
    returns="id AS prediction_id, job_id, is_duplicate",
)


def end_retained(session: Session, *, count: int) -> int:
    """End renders that the provider no longer keeps as `lost`. Their jobs fail, or end as cancelled. Returns how many.

    They are never bought again automatically, because nobody knows whether they were paid for.
    """
    reason = Reason("retention_ended", f"no outcome within the provider's retention of {RETENTION.days} days")
    ended = find_all(session, _END, EndedAttempt, retention=RETENTION, count=count, **reason._asdict())
    for each in ended:
        release_job(session, each, JobState.FAILED, reason=reason)
    return len(ended)


# An existing error code is kept.
_WARN = change_first(
    """retention_warned_at = now(),
        error_code = coalesce(error_code, 'retention_near'), error_message = coalesce(error_message, :message)""",
    "state = 'rendering' AND accepted_at < now() - :alert_after AND retention_warned_at IS NULL",
    by="accepted_at",
    kind="'prediction.retention_near'",
    detail=fields(provider_id="provider_id", ends_at="accepted_at + :retention"),
)


def note_retention_near(session: Session, *, count: int) -> int:
    """Record, once each, the renders that the provider keeps for less than `RETENTION_ALERT`. Returns how many."""
    hours = RETENTION_ALERT / timedelta(hours=1)
    message = f"no outcome yet, and the provider keeps it for less than {hours:.0f} hours"
    values = {"alert_after": RETENTION - RETENTION_ALERT, "retention": RETENTION, "count": count, "message": message}
    return len(session.execute(_WARN, values).all())


_HAND_OVER = statement(f"""
    WITH due AS MATERIALIZED (
        SELECT id, watch_windows FROM prediction
        WHERE state = 'unconfirmed' AND posted_at < now() - :search AND due_at IS NOT NULL
        ORDER BY posted_at
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    ), handed_over AS (  -- without `due_at`, no run searches for it; with these watch windows, it holds no slot
        UPDATE prediction
        SET due_at = NULL, watch_windows = greatest(due.watch_windows, :slot_windows),
            error_code = 'undecidable', error_message = :message
        FROM due WHERE prediction.id = due.id
        RETURNING prediction.id, job_id, account_id, due.watch_windows < :slot_windows AS gives_slot_back
    ), {log("'prediction.undecidable'", "handed_over", fields("message", gives_slot_back="gives_slot_back"))}
    SELECT id FROM handed_over
""")


def hand_over_unconfirmed(session: Session, *, count: int) -> int:
    """Leave unconfirmed submissions that are older than `SEARCH` to a person. Returns how many.

    Soon no list shows them any more, so runs stop searching for them. They give their slots back, but their price stays
    held: they are live until a person adopts one for them or marks them not found, or until an answer comes after all.
    """
    message = f"not found within the provider's retention of {RETENTION.days} days: decide by hand"
    values = {"search": SEARCH, "count": count, "message": message, "slot_windows": SLOT_WINDOWS}
    return len(session.execute(_HAND_OVER, values).all())
