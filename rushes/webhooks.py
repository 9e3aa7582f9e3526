"""What a webhook means for its render: the provider's answer where it is surely that, else a hint to look.

A webhook is never the only way. What cannot be verified because the provider does not tell its secret, what tells of
another end than a video, and all of them until the first ones have agreed with a look, are hints.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import PredictionState, queries, transitions
from models.queries import WatchedPrediction
from models.session import transaction
from models.transitions import EndSeen
from rushes.errors import NotFound, Unavailable
from rushes.runtime import Runtime
from rushes.surpluses import tell_surplus
from rushes.wavespeed import (
    Prediction,
    PredictionStatus,
    SignatureRefused,
    WebhookRefused,
    read_webhook,
    verify_webhook,
)
from rushes.webhook_tokens import read_token

AGREEMENTS = 5
"""So many webhooks in agreement with a look, and none in disagreement among the latest, make the next ones answers."""

SAME_HINT = timedelta(seconds=1)
"""Webhooks that come closer together than this are one reason to look."""

_VERDICTS = {
    PredictionStatus.COMPLETED: PredictionState.FAILED,  # without outputs
    PredictionStatus.FAILED: PredictionState.FAILED,
    PredictionStatus.CANCELLED: PredictionState.CANCELLED,
    PredictionStatus.TIMEOUT: PredictionState.TIMEOUT,
    PredictionStatus.DELETED: PredictionState.DELETED,
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook as it came in. What it holds is shown nowhere."""

    token: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def take_webhook(runtime: Runtime, webhook: Webhook) -> str:
    """Write what this webhook tells, wake the dispatcher, and return a word on what it was taken for.

    Taking it twice changes nothing. Raises `NotFound` for a token that is not ours and `WebhookRefused` for what the
    provider did not sign, or not lately.
    """
    named = read_token(webhook.token, secret=runtime.hook_secret)
    if named is None:
        raise NotFound("there is no such webhook")
    prediction_id, job_id = named
    found = _read_verified(runtime, webhook)
    try:
        with transaction(runtime.sessions) as session:
            taken = _write(runtime, session, prediction_id, found)
    except IntegrityError as error:  # somebody else has learned this provider id at the same instant
        raise Unavailable("another one was first; send it again") from error
    if taken == "lost":
        log.warning("webhook.row_lost", prediction_id=str(prediction_id), job_id=str(job_id))
    if taken == "surplus" and found is not None:
        tell_surplus(prediction_id, found.id)
    if taken in ("answer", "hint", "surplus"):
        runtime.waker.wake()
    return taken


def _read_verified(runtime: Runtime, webhook: Webhook) -> Prediction | None:
    """What the provider signed; None where it cannot be checked for now, or holds no prediction."""
    secret = runtime.webhook_secret.find()
    if secret is None:
        return None
    now = datetime.now(UTC)
    try:
        verify_webhook(secret=secret, headers=webhook.headers, body=webhook.body, now=now)
    except SignatureRefused:
        secret = runtime.webhook_secret.find_other_than(secret)
        if secret is None:
            raise
        verify_webhook(secret=secret, headers=webhook.headers, body=webhook.body, now=now)
    try:
        return read_webhook(webhook.body)
    except WebhookRefused:
        return None


def _write(runtime: Runtime, session: Session, prediction_id: UUID, found: Prediction | None) -> str:
    watched = queries.find_watched(session, prediction_id)
    if watched is None:
        return "lost"
    learned = None
    if found is not None and watched.provider_id is None:
        learned = _learn_id(runtime, session, watched, prediction_id=prediction_id, found=found)
    if found is not None and (learned is not None or watched.provider_id == found.id):
        if verdict := _find_verdict(found):
            transitions.note_webhook(session, prediction_id, verdict=verdict)
        if _is_answer(runtime, session, watched, found) and transitions.complete_prediction(
            session, prediction_id, watched.claim, outputs=found.outputs, seen=EndSeen(by_hook=True)
        ):
            return "answer"
        if learned == PredictionState.SURPLUS:
            return "surplus"
    return "hint" if transitions.hint_ended(session, [prediction_id], quiet_for=SAME_HINT) else "nothing new"


def _learn_id(
    runtime: Runtime, session: Session, watched: WatchedPrediction, *, prediction_id: UUID, found: Prediction
) -> str | None:
    """The state of the prediction once its id is learnt; None where somebody else was first.

    Its token was sent with this one POST: what comes back with it is as good as the direct answer.
    """
    if not transitions.yield_adoption(session, prediction_id, account_id=watched.account_id, provider_id=found.id):
        log.warning("webhook.id_taken", prediction_id=str(prediction_id), provider_id=found.id)
        return None
    return transitions.accept_prediction(
        session,
        prediction_id,
        provider_id=found.id,
        provider_created_at=found.created_at,
        watch_window=runtime.settings.watch_window,
    )


def _find_verdict(found: Prediction) -> PredictionState | None:
    return PredictionState.COMPLETED if found.has_succeeded else _VERDICTS.get(found.status)


def _is_answer(runtime: Runtime, session: Session, watched: WatchedPrediction, found: Prediction) -> bool:
    if not found.has_succeeded or watched.state != PredictionState.RENDERING:
        return False
    if runtime.settings.webhooks_trusted == "never":
        return False
    seen = queries.measure_webhook_agreement(session, watched.account_id)
    return seen.agreed >= AGREEMENTS and not seen.disagreed
