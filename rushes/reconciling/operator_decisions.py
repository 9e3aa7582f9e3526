"""A person's decisions about purchases that the system cannot decide: unconfirmed submissions, and renders that do not
end."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import Prediction, PredictionState, queries, transitions
from models.db.session import Sessions, transaction
from models.queries.reconciling import UnconfirmedSubmission
from rushes.access.audit_log import recorded
from rushes.access.callers import Caller
from rushes.errors import Conflict, InvalidInput, NotFound, Problem

_ADOPTED = ("state", "provider_id")


def list_unconfirmed(sessions: Sessions) -> Sequence[UnconfirmedSubmission]:
    """Return all unconfirmed submissions, oldest first; at most one per slot, plus those that gave their slot back."""
    with transaction(sessions) as session:
        return queries.reconciling.list_unconfirmed(session)


def adopt_unconfirmed(
    sessions: Sessions, prediction_id: UUID, *, provider_id: str, watch_window: timedelta, caller: Caller
) -> UUID:
    """Assign a prediction to this unconfirmed submission, without a request to the provider; return its job.

    Raises `NotFound`, or `Conflict` if it is not unconfirmed or another row has that id.
    """
    taken = Conflict(f"the provider's prediction {provider_id} belongs to another submission")
    try:
        with (
            transaction(sessions) as session,
            recorded(session, caller, "prediction.adopt", _lock_unconfirmed(session, prediction_id), *_ADOPTED) as row,
        ):
            if not transitions.purchases.adopt_unconfirmed(
                session, prediction_id, provider_id=provider_id, watch_window=watch_window, by=caller.by
            ):
                raise taken
    except IntegrityError as error:
        raise taken from error
    return row.job_id


def dismiss_unconfirmed(sessions: Sessions, prediction_id: UUID, *, caller: Caller) -> UUID:
    """Record that nothing was bought, so that the job may be bought again; return the job.

    Raises `NotFound`, or `Conflict` if it is not unconfirmed.
    """
    with transaction(sessions) as session:
        prediction = _lock_unconfirmed(session, prediction_id)
        with recorded(session, caller, "prediction.dismiss", prediction, "state"):
            transitions.purchases.dismiss_unconfirmed(session, prediction_id, by=caller.by)
    return prediction.job_id


def abandon_prediction(sessions: Sessions, prediction_id: UUID, *, accept_double_cost: bool, caller: Caller) -> UUID:
    """Give up a render that outlived its watch window; return its job, which is bought again if allowed.

    Raises `NotFound`; `Conflict` for any other prediction; and `InvalidInput`, which names the cost, if the cost is not
    accepted.
    """
    with transaction(sessions) as session:
        prediction = _lock_prediction(session, prediction_id)
        if prediction.state != PredictionState.RENDERING:
            raise Conflict(f"prediction {prediction_id} is {prediction.state}: only a rendering one can be abandoned")
        if not prediction.watch_windows:
            raise Conflict(f"prediction {prediction_id} has not outlived its watch window yet")
        if not accept_double_cost:
            may_be_billed = f"must be true: this render may still be billed (${prediction.price:.4f})"
            raise InvalidInput(
                [Problem("accept_double_cost", f"{may_be_billed}, and one more attempt costs as much again")]
            )
        with recorded(session, caller, "prediction.abandon", prediction, "state"):
            transitions.purchases.abandon_prediction(session, prediction_id, by=caller.by)
        return prediction.job_id


def _lock_unconfirmed(session: Session, prediction_id: UUID) -> Prediction:
    prediction = _lock_prediction(session, prediction_id)
    if (state := prediction.state) != PredictionState.UNCONFIRMED:
        raise Conflict(f"prediction {prediction_id} is {state}: only an unconfirmed submission can be decided")
    return prediction


def _lock_prediction(session: Session, prediction_id: UUID) -> Prediction:
    prediction = session.get(Prediction, prediction_id, with_for_update=True)
    if prediction is None:
        raise NotFound(f"there is no prediction {prediction_id}")
    return prediction
