"""What a person decides about a purchase: who an unconfirmed submission is, that nothing was bought, that a render is
given up."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, statement
from models.lifecycle import PredictionState, Reason
from models.transitions.reconciling.unconfirmed import mark_not_found
from models.transitions.submitting import accept_prediction
from models.transitions.watching.renders import end_prediction

# The lock holds the unconfirmed submission still until the move that follows in the same transaction.
_DECIDE = statement("""
    WITH held AS (
        SELECT id, job_id, account_id FROM prediction
        WHERE id = :prediction_id AND state = 'unconfirmed' AND provider_id IS NULL
          AND NOT EXISTS (
              SELECT 1 FROM prediction AS other
              WHERE other.account_id = prediction.account_id AND other.provider_id = CAST(:provider_id AS text))
        FOR UPDATE
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
        SELECT 'submission.decided', job_id, id, account_id, jsonb_strip_nulls(jsonb_build_object(
            'how', CAST(:how AS text), 'by', CAST(:by AS text), 'provider_id', CAST(:provider_id AS text)))
        FROM held
    )
    SELECT 1 FROM held
""")

_ABANDON = statement("""
    WITH held AS (
        SELECT id, job_id, account_id, claim, provider_id, price, watch_windows FROM prediction
        WHERE id = :prediction_id AND state = 'rendering' AND watch_windows >= 1
        FOR UPDATE
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
        SELECT 'prediction.abandoned', job_id, id, account_id, jsonb_build_object(
            'by', CAST(:by AS text), 'provider_id', provider_id, 'price', CAST(price AS text),
            'windows', watch_windows)
        FROM held
    )
    SELECT claim FROM held
""")


def adopt_unconfirmed(
    session: Session, prediction_id: UUID, *, provider_id: str, watch_window: timedelta, by: str
) -> bool:
    """A person says which of the provider's predictions this unconfirmed submission is; it is watched like any
    adoption.

    False where it is not unconfirmed, or another row has that id; a race for the id ends in its unique constraint.
    """
    if not _decide(session, prediction_id, how="adopted", by=by, provider_id=provider_id):
        return False
    state = accept_prediction(
        session,
        prediction_id,
        provider_id=provider_id,
        provider_created_at=None,
        watch_window=watch_window,
        adopted=True,
    )
    return state is not None


def dismiss_unconfirmed(session: Session, prediction_id: UUID, *, by: str) -> bool:
    """A person says that nothing was bought: as if it had been searched for and not found."""
    if not _decide(session, prediction_id, how="not_found", by=by):
        return False
    return mark_not_found(session, prediction_id, why="a person decided", decided=True)


def _decide(session: Session, prediction_id: UUID, *, how: str, by: str, provider_id: str | None = None) -> bool:
    return changed_a_row(session, _DECIDE, prediction_id=prediction_id, how=how, by=by, provider_id=provider_id)


def abandon_prediction(session: Session, prediction_id: UUID, *, by: str) -> bool:
    """A person gives up a render that outlived a watch window: `lost`, counted as spent, its slot free.

    Its job is queued again while it has attempts left. The claim is read under the lock, so no watch comes between.
    """
    claim = session.execute(_ABANDON, {"prediction_id": prediction_id, "by": by}).scalar_one_or_none()
    if claim is None:
        return False
    reason = Reason("abandoned", "a person gave this render up; it may still be billed")
    return end_prediction(
        session, prediction_id, claim, state=PredictionState.LOST, reason=reason, resubmit_after=timedelta(0)
    )
