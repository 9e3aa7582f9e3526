"""One log line per request, and the last net for bugs."""

import time

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ProblemResponse

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
