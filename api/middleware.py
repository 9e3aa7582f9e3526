"""Middleware for every request: one log line, an answer to bugs, and a limit on the wait for an answer."""

import asyncio
import time
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api.errors import RETRY_AFTER, ProblemResponse

ANSWER_SECONDS = 15.0
"""Time to begin an answer, from the end of the request. With a working database every route needs less."""
SECONDS_PER_MEGABYTE = 1.0
"""Added per megabyte of the body, because a batch of a hundred thousand jobs takes a while to write."""
COMPRESSED_WEIGHT = 30
"""A byte of a compressed body counts as this many."""
_MEGABYTE = 1_000_000
ALLOW = "rushes.allow"
"""The key in the scope of a function that gives a route more seconds, if it waits for something else."""

log = structlog.get_logger(__name__)


def count_weight(scope: Scope) -> int:
    """Return how many bytes a byte of the request's body stands for."""
    encodings = [value.strip().lower() for name, value in scope["headers"] if name == b"content-encoding"]
    return COMPRESSED_WEIGHT if b"gzip" in encodings else 1


class AccessLog:
    """Logs method, path template, status and milliseconds; no ids, no query, no body.

    It logs an unexpected exception with its traceback and answers without the traceback.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status: int | None = None

        async def watch(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except ClientDisconnect:
            pass
        except Exception:
            log.exception("request.failed", method=scope["method"], route=_route_of(scope))
            if status is not None:
                raise
            await ProblemResponse(500, "an unexpected error; it was logged")(scope, receive, watch)
        finally:
            milliseconds = round((time.perf_counter() - began) * 1000, 1)
            log.info(
                "request.answered",
                method=scope["method"],
                route=_route_of(scope),
                status=status or "client gone",
                milliseconds=milliseconds,
            )


def _route_of(scope: Scope) -> str:
    return getattr(scope.get("route"), "path_format", "unknown")


class TrustedProxies(ProxyHeadersMiddleware):
    """Takes the caller's address and scheme from `X-Forwarded-For` and `X-Forwarded-Proto` of trusted proxies only.

    `scope["via_trusted_proxy"]` says whether the request comes from one.
    """

    def __init__(self, app: ASGIApp, *, proxies: str) -> None:
        super().__init__(app, [each.strip() for each in proxies.split(",") if each.strip()])  # type: ignore[arg-type]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        client = scope.get("client")
        scope["via_trusted_proxy"] = client is not None and client[0] in self.trusted_hosts
        await super().__call__(scope, receive, send)


class BoundedAnswers:
    """Answers 503 if a route has not begun to answer in time. Once it has begun, the answer may take any time.

    The route continues in its thread until the database answers or fails, and its late answer is dropped. So a push
    that was answered with 503 may still have been accepted, as when a connection breaks before the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._abandoned: set[asyncio.Task[None]] = set()  # the event loop does not keep tasks alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, weight=count_weight(scope))
        scope[ALLOW] = exchange.allow
        task = asyncio.ensure_future(self._app(scope, exchange.receive, exchange.send))
        try:
            await asyncio.wait({task, exchange.late}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not exchange.late.done():
            await task
            return
        self._abandoned.add(task)
        task.add_done_callback(self._forget)
        headers = {"Retry-After": str(int(RETRY_AFTER.total_seconds()))}
        detail = "the request was not handled in time; it may still be carried out"
        await ProblemResponse(503, detail, headers=headers)(scope, receive, send)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # marks the exception as seen: nothing awaits this task any more


class _Exchange:
    """One request and its answer, observed as they pass through. `late` is done once the time to answer is up."""

    def __init__(self, receive: Receive, send: Send, *, weight: int = 1) -> None:
        self._receive = receive
        self._send = send
        self._weight = weight
        self._megabytes = self._more_seconds = 0.0
        self._answers = False
        self.late = asyncio.get_running_loop().create_future()
        self._timer = self._start_timer()

    async def receive(self) -> Message:
        """Receive a message from the client, which may take any time here: `api.deps` limits it."""
        self._timer.cancel()
        try:
            message = await self._receive()
            self._megabytes += self._weight * len(message.get("body", b"")) / _MEGABYTE
        finally:
            if not self._answers and not self.late.done():
                self._timer = self._start_timer()
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the route, unless it comes too late."""
        self._answers = True
        self._timer.cancel()
        if not self.late.done():
            await self._send(message)

    def allow(self, seconds: float) -> None:
        """Let the route take this much longer, counted from now."""
        self._more_seconds = seconds
        self._timer.cancel()
        if not self._answers and not self.late.done():
            self._timer = self._start_timer()

    def _start_timer(self) -> asyncio.TimerHandle:
        seconds = ANSWER_SECONDS + self._more_seconds + self._megabytes * SECONDS_PER_MEGABYTE
        return self.late.get_loop().call_later(seconds, self.late.set_result, None)
