"""A person's decisions about a purchase: adopt a prediction for an unconfirmed submission, record that nothing was
bought, or give a render up."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, statement
from models.lifecycle import PredictionState, Reason
from models.transitions.history import fields, log
from models.transitions.reconciling.unconfirmed import mark_not_found
from models.transitions.submitting import accept_prediction
from models.transitions.watching.renders import end_prediction


def adopt_unconfirmed(
    session: Session, prediction_id: UUID, *, provider_id: str, watch_window: timedelta, by: str
) -> bool:
    """A person assigns one of the provider's predictions to this unconfirmed submission. It is watched like any other
    adoption.

    Returns False if the submission is not unconfirmed or another row has that id. The unique constraint decides a race
    for the id.
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
    """A person states that nothing was bought. The effect is the same as if it had been searched for and not found."""
    if not _decide(session, prediction_id, how="not_found", by=by):
        return False
    return mark_not_found(session, prediction_id, why="a person decided", decided=True)


# The lock prevents changes to the unconfirmed submission until the next transition in the same transaction.
_DECIDE = statement(f"""
    WITH held AS (
        SELECT id, job_id, account_id FROM prediction
        WHERE id = :prediction_id AND state = 'unconfirmed' AND provider_id IS NULL
          AND NOT EXISTS (
              SELECT 1 FROM prediction AS other
              WHERE other.account_id = prediction.account_id AND other.provider_id = CAST(:provider_id AS text))
        FOR UPDATE
    ), {log("'submission.decided'", "held", f"jsonb_strip_nulls({fields('how', 'by', 'provider_id')})")}
    SELECT 1 FROM held
""")


def _decide(session: Session, prediction_id: UUID, *, how: str, by: str, provider_id: str | None = None) -> bool:
    return changed_a_row(session, _DECIDE, prediction_id=prediction_id, how=how, by=by, provider_id=provider_id)


_ABANDON_DETAIL = fields("by", provider_id="provider_id", price="CAST(price AS text)", windows="watch_windows")

_ABANDON = statement(f"""
    WITH held AS (
        SELECT id, job_id, account_id, claim, provider_id, price, watch_windows FROM prediction
        WHERE id = :prediction_id AND state = 'rendering' AND watch_windows >= 1
        FOR UPDATE
    ), {log("'prediction.abandoned'", "held", _ABANDON_DETAIL)}
    SELECT claim FROM held
""")


def abandon_prediction(session: Session, prediction_id: UUID, *, by: str) -> bool:
    """A person gives up a render that outlived a watch window. It ends as `lost`, counts as spent and frees its slot.

    Its job is queued again if it has attempts left. The claim is read under the lock, so no check can intervene.
    """
    claim = session.execute(_ABANDON, {"prediction_id": prediction_id, "by": by}).scalar_one_or_none()
    if claim is None:
        return False
    reason = Reason("abandoned", "a person gave this render up; it may still be billed")
    return end_prediction(
        session, prediction_id, claim, state=PredictionState.LOST, reason=reason, resubmit_after=timedelta(0)
    )
