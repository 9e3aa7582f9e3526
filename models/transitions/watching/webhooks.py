"""What a webhook leaves in a prediction's row besides the move that may follow from it."""

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
    """Write the fact that a verified webhook told this end, whatever the state; true for the first of them."""
    return changed_a_row(session, _NOTE, prediction_id=prediction_id, outcome=outcome.value)
