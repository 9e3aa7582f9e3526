"""Connections that obey a total deadline and record whether anything was sent.

`requests` and `urllib3` bound each wait on the socket, not their sum. Their exception classes do not show for certain
whether a request left. The connection solves both: it cuts every wait to the rest of the total time, and it sets
`Exchange.sent` right before the first byte goes out.

The name look-up is not bounded: `getaddrinfo` has no time limit, so the resolver's own applies. We check the deadlines
after it, so a slow look-up can make a call return late, but never send late.
"""

import http.client
import io
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.util.connection import create_connection

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""A page of 100 predictions with inputs is about one megabyte. No answer of the provider comes near this limit."""

_PIECE_BYTES = 16 * 1024


@dataclass(slots=True)
class Exchange:
    """One request and its answer: their limits, in seconds or as `time.monotonic()`, and how far they came."""

    deadline: float
    connect: float
    read: float
    send_before: float | None = None
    sent: bool = False
    late: bool = False
    """True when nothing was sent because `send_before` had passed."""
    received: int = 0

    def patience(self, limit: float) -> float:
        """Return the seconds that the next wait may last. Raises `TimeoutError` when the total time is up."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the total time for this call is up")
        return min(limit, left)

    def begin_piece(self) -> float:
        """Return the seconds that sending the next bytes may take. Raises `TimeoutError` if it is too late to send."""
        patience = self.patience(self.read)
        if not self.sent and self.send_before is not None and time.monotonic() >= self.send_before:
            self.late = True
            raise TimeoutError("the time to send had passed")
        self.sent = True
        return patience

    def count(self, received: int) -> None:
        self.received += received
        if self.received > MAX_ANSWER_BYTES:
            raise OSError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")


_underway: ContextVar[Exchange] = ContextVar("exchange")


@contextmanager
def underway(exchange: Exchange) -> Iterator[None]:
    token = _underway.set(exchange)
    try:
        yield
    finally:
        _underway.reset(token)


class _AnswerStream(io.RawIOBase):
    """The receiving side of a socket. Each wait is cut to the time left for the exchange."""

    def __init__(self, sock: socket.socket, exchange: Exchange) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._exchange = exchange

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._exchange.patience(self._exchange.read))
        received = self._raw.readinto(buffer)
        self._exchange.count(received or 0)
        return received

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        unbounded = self.fp
        self.fp = io.BufferedReader(_AnswerStream(sock, _underway.get()))
        unbounded.close()


class BoundedConnection(HTTPConnection):
    """Works only inside `underway`. It obeys the limits of that exchange and reports to it."""

    response_class = _BoundedResponse

    def _new_conn(self) -> socket.socket:
        """Try each address in turn. `connect` bounds each one and the TLS handshake; the deadline bounds them all."""
        exchange = _underway.get()
        failure: OSError = OSError("the name has no address")
        for address in self._find_addresses():
            try:
                return self._open(address, exchange)
            except OSError as error:
                failure = error
        # Not the bare OSError: urllib3 ignores some of them and would continue without a socket.
        raise NewConnectionError(self, "no connection") from failure

    def _find_addresses(self) -> list[str]:
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, "the name was not found") from error
        return [str(address[0]) for *_, address in found]

    def _open(self, address: str, exchange: Exchange) -> socket.socket:
        patience = exchange.patience(exchange.connect)
        sock = create_connection((address, self.port), timeout=patience, socket_options=self.socket_options)
        sock.settimeout(exchange.patience(exchange.connect))
        return sock

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        view = memoryview(data)
        for start in range(0, len(view), _PIECE_BYTES):
            self.sock.settimeout(_underway.get().begin_piece())
            super().send(view[start : start + _PIECE_BYTES])


class BoundedTLSConnection(BoundedConnection, HTTPSConnection):
    """The same over TLS. Handshake bytes do not count as part of the request."""
