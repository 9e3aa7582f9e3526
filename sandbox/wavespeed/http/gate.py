"""The gate that every request passes: the clock, the faults of servers and gateways, the key check, the counters."""

import json
from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.wavespeed.http.answers import Dripped, Dropped, Hung, Refusal, Slow, garble, gateway_error
from sandbox.wavespeed.state.faults import Strike, Subject
from sandbox.wavespeed.state.provider import Provider

READING = frozenset({"result", "list", "balance", "secret"})
"""Kinds of requests that the `get_*` faults affect."""

TOO_MANY = "Too many requests. Rate limits reset every minute."

_TITLES = {500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Time-out"}


Handler = Callable[[Provider, Request], Awaitable[ASGIApp]]


class Gate:
    """One route: a handler behind the gate. `kind` is the name under which its requests are counted."""

    def __init__(self, handler: Handler, *, provider: Provider, kind: str, keyed: bool = True) -> None:
        self._handler = handler
        self._provider = provider
        self._kind = kind
        self._keyed = keyed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        provider = self._provider
        provider.advance()
        provider.counts.requests[self._kind] += 1
        try:
            answer = await self._answer(Request(scope, receive))
        except Refusal as refusal:
            answer = refusal.answer()
            if self._kind == "submit":
                provider.counts.refused[refusal.status] += 1
        except ClientDisconnect:
            answer = Dropped()
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp:
        strike = self._provider.faults.aim(self._subject(request))
        if outage := strike("outage"):
            return broken(outage.status)
        if rejected := strike("key_rejected") if self._keyed else None:
            raise reject_key(rejected.status)
        if self._keyed and not _has_key(request, self._provider.settings.api_key):
            raise reject_key(401)
        if instead := self._fail_reading(strike):
            return instead
        return self._worsen(strike, await self._handler(self._provider, request))

    def _subject(self, request: Request) -> Subject:
        task = self._provider.find(request.path_params.get("task_id", ""))
        return task.asked.as_subject(self._kind) if task else Subject(self._kind)

    def _fail_reading(self, strike: Strike) -> ASGIApp | None:
        if self._kind not in READING:
            return None
        if rule := strike("get_hang"):
            return Hung(rule.delay)
        if rule := strike("get_5xx"):
            return broken(rule.status)
        if rule := strike("get_429"):
            raise Refusal(429, TOO_MANY, retry_after=rule.retry_after)
        return None

    def _worsen(self, strike: Strike, answer: ASGIApp) -> ASGIApp:
        if self._kind in READING and isinstance(answer, Response) and (rule := strike("get_garbage")):
            answer = garble(answer, rule.form)
        if rule := strike("drip_answer"):
            answer = Dripped(answer, rule.delay)
        if rule := strike("slow_answer"):
            answer = Slow(answer, rule.delay)
        return answer


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body; raises `Refusal` (400) for anything else."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise Refusal(400, "the request body must be valid JSON") from None
    if not isinstance(body, dict):
        raise Refusal(400, "the request body must be a JSON object")
    return body


def base_of(request: Request) -> str:
    """Scheme, host and port that the client used."""
    return str(request.base_url).rstrip("/")


def broken(status: int) -> ASGIApp:
    """A server error: an envelope from the server, a page from the gateway, or a dropped connection for status 0."""
    if status == 0:
        return Dropped()
    if status == 500:
        return Refusal(500, "Internal server error").answer()
    return gateway_error(status, _TITLES.get(status, "Error"))


def reject_key(status: int) -> Refusal:
    """401 for a missing or wrong key, 403 for a key with a role that does not allow the request."""
    if status == 403:
        message = "This API key has the role viewer. Use a key with the role developer or owner."
        return Refusal(403, message, error_code="permission_denied")
    return Refusal(status, "Invalid API key")


def _has_key(request: Request, api_key: str) -> bool:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and compare_digest(token.strip().encode(), api_key.encode())
