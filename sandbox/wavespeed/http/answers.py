"""Answers, well-formed and broken: the provider's envelope, and every way in which a server can fail a client."""

import asyncio
import json
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TRANSPORT = "sandbox.wavespeed.transport"
"""Key in the ASGI scope's extensions under which the server stores the connection, so that it can be dropped."""

GATEWAY_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>\r\n"
DRIP_PIECES = 20


class Refusal(Exception):
    """An error answer of the provider; `error_code` is an extra string that some answers have."""

    def __init__(self, status: int, message: str, *, error_code: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_code = error_code
        self.retry_after = retry_after

    def answer(self) -> Response:
        body: dict[str, Any] = {"code": self.status, "message": self.message, "data": None}
        if self.error_code:
            body["error_code"] = self.error_code
        headers = None if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}
        return as_json(body, status=self.status, headers=headers)


def as_json(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    content = json.dumps(body, separators=(",", ":")).encode()
    return Response(content, status_code=status, headers=headers, media_type="application/json")


def envelope(data: object, *, status: int = 200, code: int = 200, message: str = "success") -> Response:
    """The envelope of every JSON answer of the provider."""
    return as_json({"code": code, "message": message, "data": data}, status=status)


def gateway_error(status: int, title: str) -> Response:
    """The answer of a gateway in front of the provider: a page, not an envelope."""
    return Response(GATEWAY_PAGE.format(f"{status} {title}"), status_code=status, media_type="text/html")


def garble(answer: Response, form: str) -> Response:
    """Make the answer unreadable: `html` is a page with status 200, `truncated` is half of the document, and `code` is
    an envelope with status 200 and code 500 inside."""
    match form:
        case "truncated":
            body = bytes(answer.body)
            return Response(body[: len(body) // 2], status_code=200, media_type="application/json")
        case "code":
            return envelope(None, code=500, message="Internal server error")
        case _:
            return gateway_error(200, "OK")


class Dropped:
    """No answer: the connection is reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _transport(scope).abort()
        await _wait_for_disconnect(receive)


class Slow:
    """The answer, `seconds` later."""

    def __init__(self, answer: ASGIApp, seconds: float) -> None:
        self.answer = answer
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await _is_patient(receive, self._seconds):
            await self.answer(scope, receive, send)


class Hung(Slow):
    """No answer for `seconds`, or until the client disconnects; then the connection is reset."""

    def __init__(self, seconds: float) -> None:
        super().__init__(Dropped(), seconds)


class Dripped:
    """The answer with a body that takes about `seconds` to arrive, in small pieces."""

    def __init__(self, answer: ASGIApp, seconds: float) -> None:
        self.answer = answer
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = 0

        async def drip(message: Message) -> None:
            nonlocal length
            if message["type"] == "http.response.start":
                length = _content_length(message)
                await send(message)
                return
            for piece in _split(message.get("body", b""), max(1, length // DRIP_PIECES)):
                if not await _is_patient(receive, self._seconds * len(piece) / length):
                    return
                await send({**message, "body": piece, "more_body": True})
            if not message.get("more_body", False):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self.answer(scope, receive, drip)


class Cut:
    """The answer's headers and a fraction of its body; then the connection ends."""

    def __init__(self, answer: ASGIApp, fraction: float) -> None:
        self._answer = answer
        self._fraction = fraction

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = 0

        async def cut(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.start":
                left = int(_content_length(message) * self._fraction)
                await send(message)
                return
            body = message.get("body", b"")[:left]
            left -= len(body)
            if body:
                await send({**message, "body": body, "more_body": True})

        await self._answer(scope, receive, cut)
        _transport(scope).close()
        await _wait_for_disconnect(receive)


def _content_length(start: Message) -> int:
    return next((int(value) for name, value in start["headers"] if name == b"content-length"), 0)


def _transport(scope: Scope) -> asyncio.Transport:
    transport: asyncio.Transport = scope["extensions"][TRANSPORT]
    return transport


def _split(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


async def _is_patient(receive: Receive, seconds: float) -> bool:
    """Wait for `seconds`; false as soon as the client has disconnected."""
    try:
        await asyncio.wait_for(_wait_for_disconnect(receive), seconds)
    except TimeoutError:
        return True
    return False


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
