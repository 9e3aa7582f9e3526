"""POST /api/v3/{model-id}: buy a render, and every way in which the answer can get lost."""

import logging
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp

from rushes.catalog import VideoModel
from sandbox.wavespeed.handlers.schemas import complain, find_model, split_input, with_defaults
from sandbox.wavespeed.http.answers import Dropped, Hung, Refusal, envelope, garble, gateway_error
from sandbox.wavespeed.http.bodies import base_of, read_object
from sandbox.wavespeed.http.gate import TOO_MANY, GatedService, broken
from sandbox.wavespeed.state.faults import Strike, Subject
from sandbox.wavespeed.state.provider import NO_CREDIT, Provider
from sandbox.wavespeed.state.tasks import TaskRequest, describe

logger = logging.getLogger(__name__)


async def submit(service: GatedService, request: Request) -> ASGIApp:
    """Accept, refuse or lose one submission. Once `Provider.accept` returns, the task exists and is charged."""
    provider = service.provider
    body = await read_object(request)
    subject = Subject("submit", request.path_params["model_id"], str(body.get("prompt", "")))
    strike = provider.faults.aim(subject)
    if (refused := _refuse(provider, strike)) is not None:
        return refused
    if not provider.limit.admit(provider.now):
        raise Refusal(429, TOO_MANY)
    submission = _read_submission(provider, request, body=body)
    if late := strike("submit_late"):
        provider.accept_later(submission, late.delay)
        return broken(504)
    task = provider.accept(submission)
    shown = describe(task, now=provider.now, base=submission.base) | {"status": "created"}
    return _lose(strike, shown) or envelope(shown)


def _refuse(provider: Provider, strike: Strike) -> ASGIApp | None:
    """Faults that strike before anything is bought."""
    if rule := strike("submit_5xx"):
        provider.counts.refused[rule.status] += 1
        return broken(rule.status)
    if rule := strike("submit_bad_code"):
        return envelope(None, code=rule.code, message="Internal server error")
    if rule := strike("submit_429"):
        raise Refusal(429, TOO_MANY, retry_after=rule.retry_after)
    if rule := strike("no_credit"):
        raise Refusal(rule.status, NO_CREDIT)
    return None


def _read_submission(provider: Provider, request: Request, *, body: dict[str, Any]) -> TaskRequest:
    model = find_model(request.path_params["model_id"])
    if model is None:
        raise Refusal(400, "Model not found")
    given, ignored = split_input(model, body)
    if ignored:
        _note_ignored(provider, model, keys=ignored)
    if sentence := complain(model, given):
        raise Refusal(400, sentence)
    webhook = request.query_params.get("webhook") or None
    if webhook is not None and not _is_http_url(webhook):
        raise Refusal(400, "webhook must be a valid URL")
    return TaskRequest(
        model=model,
        given=given,
        values=with_defaults(model, given),
        base=base_of(request),
        webhook=webhook,
    )


def _note_ignored(provider: Provider, model: VideoModel, *, keys: list[str]) -> None:
    fresh = [key for key in keys if key not in provider.counts.ignored_keys]
    provider.counts.ignored_keys.update(keys)
    if fresh:
        logger.warning("ignored %s, which %s does not know", ", ".join(map(repr, fresh)), model.id)


def _lose(strike: Strike, shown: dict[str, Any]) -> ASGIApp | None:
    """Faults that strike after the purchase: the client gets no answer, or not a good one."""
    if strike("submit_drop"):
        return Dropped()
    if strike("submit_504"):
        return gateway_error(504, "Gateway Time-out")
    if rule := strike("submit_hang"):
        return Hung(rule.delay)
    if rule := strike("submit_error_with_task"):
        return envelope(shown, status=rule.status, code=rule.status, message="Internal server error")
    if rule := strike("submit_garbage"):
        return garble(envelope(shown), rule.form)
    return None


def _is_http_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
