"""The gate that every request passes: the clock, the faults of servers and gateways, the key check, the counters."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hmac import compare_digest

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.wavespeed.http.answers import Dripped, Dropped, Hung, Refusal, Slow, garble, gateway_error, label
from sandbox.wavespeed.media.uploads import MediaStore
from sandbox.wavespeed.state.faults import Subject
from sandbox.wavespeed.state.provider import Provider
from sandbox.wavespeed.webhooks import Outbox

READING = frozenset({"result", "list", "balance", "billings", "usage", "price", "models", "secret"})
"""Kinds of requests that the `get_*` faults affect."""

TOO_MANY = "Too many requests. Rate limits reset every minute."

_TITLES = {500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Time-out"}


@dataclass(frozen=True, slots=True)
class GatedService:
    """The objects that the handlers use."""

    provider: Provider
    media: MediaStore
    outbox: Outbox


Handler = Callable[[GatedService, Request], Awaitable[ASGIApp]]


class Gate:
    """One route: a handler behind the gate. `kind` is the name under which its requests are counted."""

    def __init__(self, handler: Handler, *, service: GatedService, kind: str, keyed: bool = True) -> None:
        self._handler = handler
        self._service = service
        self._kind = kind
        self._keyed = keyed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        provider = self._service.provider
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
        provider.counts.count_answer(self._kind, label(answer))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp:
        faults = self._service.provider.faults
        if not faults:
            self._check_key(request)
            return await self._handler(self._service, request)
        subject = self._subject(request)
        if outage := faults.strike("outage", subject):
            return broken(outage.status)
        if rejected := faults.strike("key_rejected", subject) if self._keyed else None:
            raise reject_key(rejected.status)
        self._check_key(request)
        if instead := self._fail_reading(subject):
            return instead
        answer = await self._handler(self._service, request)
        return self._worsen(answer, subject)

    def _check_key(self, request: Request) -> None:
        if self._keyed and not find_key(request, self._service.provider.settings.api_keys):
            raise reject_key(401)

    def _subject(self, request: Request) -> Subject:
        parameters = request.path_params
        task = self._service.provider.find(parameters.get("task_id", ""))
        if task is None:
            return Subject(self._kind, parameters.get("model_id", ""))
        return Subject(self._kind, task.asked.model.id, task.asked.prompt)

    def _fail_reading(self, subject: Subject) -> ASGIApp | None:
        faults = self._service.provider.faults
        if self._kind not in READING:
            return None
        if rule := faults.strike("get_hang", subject):
            return Hung(rule.delay)
        if rule := faults.strike("get_5xx", subject):
            return broken(rule.status)
        if rule := faults.strike("get_429", subject):
            raise Refusal(429, TOO_MANY, retry_after=rule.retry_after)
        return None

    def _worsen(self, answer: ASGIApp, subject: Subject) -> ASGIApp:
        faults = self._service.provider.faults
        if self._kind in READING and isinstance(answer, Response) and (rule := faults.strike("get_garbage", subject)):
            answer = garble(answer, rule.form)
        if rule := faults.strike("drip_answer", subject):
            answer = Dripped(answer, rule.delay)
        if rule := faults.strike("slow_answer", subject):
            answer = Slow(answer, rule.delay)
        return answer


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


def find_key(request: Request, api_keys: tuple[str, ...]) -> str | None:
    """The name of the key in this request; None if it has none of the account's keys."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    given = token.strip().encode()
    return next(
        (f"key-{place}" for place, key in enumerate(api_keys, start=1) if compare_digest(given, key.encode())), None
    )
