"""How a webhook affects its render: as the provider's answer if that is certain, else as an early-check request.

We never depend on webhooks alone. A webhook is only an early-check request in three cases: the provider's secret cannot
be fetched, so the webhook cannot be verified; it reports another outcome than a video; or too few webhooks have agreed
with a check so far.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import PredictionState, queries, transitions
from models.db.session import transaction
from models.queries.watching.renders import WatchedPrediction
from models.transitions.submitting import DUPLICATE
from models.transitions.watching.renders import EndSeen
from rushes.errors import NotFound, Unavailable
from rushes.reconciling.assign import assign_answered, log_duplicate
from rushes.runtime import ACCOUNT, Runtime
from rushes.watching.poll import find_end_state
from rushes.wavespeed.answers import SignatureRefused, WebhookRefused
from rushes.wavespeed.callback_urls import Origin, read_token
from rushes.wavespeed.predictions import ProviderPrediction
from rushes.wavespeed.webhooks import read_webhook, verify_webhook

AGREEMENTS = 5
"""Once this many webhooks agreed with a check, and none of the latest disagreed, the next ones count as answers."""

SAME_REQUEST = timedelta(seconds=1)
"""Webhooks closer together than this cause only one check."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook as received. Its contents are never shown."""

    token: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def take_webhook(runtime: Runtime, webhook: Webhook) -> str:
    """Write the facts in this webhook, wake the dispatcher, and return one word for how it was used.

    Processing it twice changes nothing. Raises `NotFound` if the token is not ours. Raises `WebhookRefused` if the
    provider did not sign the webhook, or not recently.
    """
    named = read_token(webhook.token, secret=runtime.hook_secret)
    if named is None:
        raise NotFound("there is no such webhook")
    prediction_id, job_id = named
    found = _read_verified(runtime, webhook)
    try:
        with transaction(runtime.sessions) as session:
            taken, row_id = _write(runtime, session, named, found)
    except IntegrityError as error:  # another process wrote this provider id at the same instant
        raise Unavailable("another process wrote this provider id first; send it again") from error
    if taken == "lost":
        log.warning("webhook.row_lost", prediction_id=str(prediction_id), job_id=str(job_id))
    if taken == "duplicate" and found is not None:
        log_duplicate(row_id, found.id)
    if taken in ("answer", "hint", "duplicate"):
        runtime.waker.wake()
    return taken


def _read_verified(runtime: Runtime, webhook: Webhook) -> ProviderPrediction | None:
    """Return the signed prediction; None if the signature cannot be checked for now or it holds no prediction."""
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


def _write(runtime: Runtime, session: Session, origin: Origin, found: ProviderPrediction | None) -> tuple[str, UUID]:
    """Return how the webhook was used, and the row that has the prediction."""
    row_id, learned = origin.prediction_id, None
    watched = queries.renders.find_watched(session, row_id)
    if found is not None and (watched is None or watched.provider_id is None):
        row_id, learned = _learn_id(runtime, session, watched, origin=origin, found=found)
        watched = queries.renders.find_watched(session, row_id)
    if watched is None:
        return "lost", row_id
    if found is not None and watched.provider_id == found.id:
        if found.is_terminal:
            transitions.renders.note_webhook(session, row_id, outcome=find_end_state(found))
        if learned == DUPLICATE:
            return "duplicate", row_id
        is_answer = learned is None and _is_answer(runtime, session, watched, found)
        seen = EndSeen(by_hook=True, execution=found.execution_time)
        if is_answer and transitions.renders.complete_prediction(
            session, row_id, watched.claim, outputs=found.outputs, seen=seen
        ):
            return "answer", row_id
    return (
        "hint" if transitions.renders.request_early_checks(session, [row_id], quiet_for=SAME_REQUEST) else "nothing new"
    ), row_id


def _learn_id(
    runtime: Runtime,
    session: Session,
    watched: WatchedPrediction | None,
    *,
    origin: Origin,
    found: ProviderPrediction,
) -> tuple[UUID, str | None]:
    """Return the row that has this provider id, and its state if this call wrote it.

    The token was sent with exactly one POST, so a webhook with it is as good as the direct answer. If the row no longer
    waits, its job may still wait. The purchase is then assigned like every purchase with a known owner.
    """
    prediction_id, job_id = origin
    account = queries.dispatching.find_account(session, ACCOUNT)
    if account is None:
        return prediction_id, None
    if assigned_id := queries.reconciling.find_assigned(session, job_id, found.id):
        return assigned_id, None
    if not transitions.purchases.yield_adoption(session, prediction_id, account_id=account.id, provider_id=found.id):
        log.warning("webhook.id_taken", prediction_id=str(prediction_id), provider_id=found.id)
        return prediction_id, None
    assigned = assign_answered(session, runtime, account.id, origin=origin, found=found)
    if assigned is None:
        return prediction_id, None
    if assigned.prediction_id is None:
        raise Unavailable("its job is changing at this instant; send it again")
    return assigned.prediction_id, assigned.state


def _is_answer(runtime: Runtime, session: Session, watched: WatchedPrediction, found: ProviderPrediction) -> bool:
    if not found.has_succeeded or watched.state != PredictionState.RENDERING:
        return False
    if runtime.settings.webhooks_trusted == "never":
        return False
    seen = queries.webhooks.measure_webhook_agreement(session, watched.account_id)
    return seen.agreed >= AGREEMENTS and not seen.disagreed
