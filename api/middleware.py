"""What every request passes: one log line, the last net for bugs, and a bound to how long it waits for its answer."""

import asyncio
import time

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import RETRY_AFTER, ProblemResponse

ANSWER_SECONDS = 15.0
"""From when the request has been read; longer than a database that works takes for any page."""
SECONDS_PER_MEGABYTE = 1.0
"""And so much longer for its body: a batch of a hundred thousand jobs takes a while to write."""
_MEGABYTE = 1_000_000

log = structlog.get_logger(__name__)


class AccessLog:
    """Logs method, path template, status and milliseconds: no ids, no query, no body.

    An exception that nobody expected is logged with its traceback and answered without it.
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
    return getattr(scope.get("route"), "path", "unknown")


class BoundedAnswers:
    """Answers 503 where a route has not begun to answer in time. An answer that has begun, as of a file, may last.

    The route goes on in its thread until the database answers or fails; what it says then is dropped. So a push that
    was answered 503 may have been accepted all the same, as where a connection breaks before the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._abandoned: set[asyncio.Task[None]] = set()  # the event loop itself keeps no task alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        task = asyncio.ensure_future(self._app(scope, exchange.receive, exchange.send))
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=exchange.measure_left())
                if exchange.is_late():
                    self._abandon(task, exchange)
                    await _refuse(scope, receive, send)
                    return
        except asyncio.CancelledError:
            task.cancel()
            raise
        await task

    def _abandon(self, task: "asyncio.Task[None]", exchange: "_Exchange") -> None:
        exchange.is_abandoned = True
        self._abandoned.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # seen: nobody waits for it any more


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"Retry-After": str(int(RETRY_AFTER.total_seconds()))}
    detail = "the database does not answer; what was asked for may be done all the same"
    await ProblemResponse(503, detail, headers=headers)(scope, receive, send)


class _Exchange:
    """One request and its answer, watched as they pass."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._now = asyncio.get_running_loop().time
        self._moved_at = self._now()
        self._megabytes = 0.0
        self._reads = False
        self._answers = False
        self.is_abandoned = False

    def measure_left(self) -> float | None:
        """Seconds until it is late; None once it answers."""
        if self._answers:
            return None
        if self._reads:
            return ANSWER_SECONDS
        return max(0.0, self._moved_at + ANSWER_SECONDS + self._megabytes * SECONDS_PER_MEGABYTE - self._now())

    def is_late(self) -> bool:
        """Whether it has had its time, and has not begun to answer."""
        return not self._reads and self.measure_left() == 0

    async def receive(self) -> Message:
        """What the client sends."""
        self._reads = True  # how long a client takes to send is not ours to bound
        try:
            message = await self._receive()
        finally:
            self._reads = False
            self._moved_at = self._now()
        self._megabytes += len(message.get("body", b"")) / _MEGABYTE
        return message

    async def send(self, message: Message) -> None:
        """What the route answers, unless it comes too late."""
        if self.is_abandoned:
            return
        self._answers = True
        await self._send(message)
