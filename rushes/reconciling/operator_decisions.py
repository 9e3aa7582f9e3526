"""A person's decisions about purchases that the system cannot decide: unconfirmed submissions, and renders that do not
end."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import Prediction, PredictionState, queries, transitions
from models.db.session import Sessions, transaction
from models.queries.reconciling.runs import UnconfirmedSubmission
from rushes.errors import Conflict, InvalidInput, NotFound, Problem


def list_unconfirmed(sessions: Sessions) -> Sequence[UnconfirmedSubmission]:
    """Return all unconfirmed submissions, oldest first; at most one per slot, plus those that gave their slot back."""
    with transaction(sessions) as session:
        return queries.runs.list_unconfirmed(session)


def adopt_unconfirmed(
    sessions: Sessions, prediction_id: UUID, *, provider_id: str, watch_window: timedelta, by: str
) -> UUID:
    """Assign one of the provider's predictions to this unconfirmed submission; return its job. Makes no request to the
    provider.

    Raises `NotFound`, or `Conflict` if it is not unconfirmed or another row has that id.
    """
    taken = Conflict(f"the provider's prediction {provider_id} belongs to another submission")
    try:
        with transaction(sessions) as session:
            adopted = transitions.operator_decisions.adopt_unconfirmed(
                session, prediction_id, provider_id=provider_id, watch_window=watch_window, by=by
            )
            prediction = _get_prediction(session, prediction_id)
            if not adopted:
                _require_unconfirmed(prediction)
                raise taken
            return prediction.job_id
    except IntegrityError as error:
        raise taken from error


def dismiss_unconfirmed(sessions: Sessions, prediction_id: UUID, *, by: str) -> UUID:
    """Record that nothing was bought, so that the job may be bought again; return the job.

    Raises `NotFound`, or `Conflict` if it is not unconfirmed.
    """
    with transaction(sessions) as session:
        dismissed = transitions.operator_decisions.dismiss_unconfirmed(session, prediction_id, by=by)
        prediction = _get_prediction(session, prediction_id)
        if not dismissed:
            _require_unconfirmed(prediction)
            raise Conflict(f"prediction {prediction_id} became unconfirmed only after your request: send it again")
        return prediction.job_id


def abandon_prediction(sessions: Sessions, prediction_id: UUID, *, accept_double_cost: bool, by: str) -> UUID:
    """Give up a render that outlived its watch window; return its job, which is bought again if allowed.

    Raises `NotFound`; `Conflict` for any other prediction; and `InvalidInput`, which names the cost, if the cost is not
    accepted.
    """
    with transaction(sessions) as session:
        prediction = _get_prediction(session, prediction_id)
        if prediction.state != PredictionState.RENDERING:
            raise Conflict(f"prediction {prediction_id} is {prediction.state}: only a rendering one can be abandoned")
        if not prediction.watch_windows:
            raise Conflict(f"prediction {prediction_id} has not outlived its watch window yet")
        if not accept_double_cost:
            raise InvalidInput([Problem("accept_double_cost", _name_cost(prediction))])
        if not transitions.operator_decisions.abandon_prediction(session, prediction_id, by=by):
            raise Conflict(f"prediction {prediction_id} has just ended")
        return prediction.job_id


def _name_cost(prediction: Prediction) -> str:
    return (
        f"must be true: this render may still be billed (${prediction.price:.4f}), "
        "and one more attempt costs as much again"
    )


def _get_prediction(session: Session, prediction_id: UUID) -> Prediction:
    prediction = session.get(Prediction, prediction_id)
    if prediction is None:
        raise NotFound(f"there is no prediction {prediction_id}")
    return prediction


def _require_unconfirmed(prediction: Prediction) -> None:
    if prediction.state != PredictionState.UNCONFIRMED:
        raise Conflict(
            f"prediction {prediction.id} is {prediction.state}: only an unconfirmed submission can be decided"
        )
