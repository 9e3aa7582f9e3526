"""The columns that a webhook writes in a prediction's row, in addition to the transition that may follow."""

from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, statement
from models.lifecycle import PredictionState

_NOTE = statement("""
    UPDATE prediction SET hooked_at = now(), hook_outcome = :outcome
    WHERE id = :prediction_id AND hooked_at IS NULL
    RETURNING 1
""")


def note_webhook(session: Session, prediction_id: UUID, *, outcome: PredictionState) -> bool:
    """Record that a verified webhook reported this outcome, whatever the state. Returns True for the first webhook."""
    return changed_a_row(session, _NOTE, prediction_id=prediction_id, outcome=outcome.value)
