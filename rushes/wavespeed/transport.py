"""One request over HTTP: a whole answer within a total time, or `ExchangeError`. Never retries, never redirects.

`http.client` bounds each wait on the socket, not their sum, so a timer shuts the socket down when the total time is up.
A connection is opened first and used only then, so it is certain whether a request left. For a request that is sent
once, it can be opened beforehand, so that a slow network does not use up the request's time.

The name look-up is not bounded: `getaddrinfo` has no time limit, so the resolver's own applies. The deadline is checked
after it, so a slow look-up can make a call return late, but never send late.
"""

import http.client
import socket
import ssl
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

from rushes.network import connect, open_tunnel

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""A page of 100 predictions with inputs is about one megabyte. No answer of the provider comes near this limit."""

UNUSED_SECONDS = 5.0
"""A connection that was opened but not used can serve another request for this long."""

_FAULTS = (OSError, ValueError, http.client.HTTPException, zlib.error)


class ExchangeError(Exception):
    """No whole answer came. `Exchange.sent` shows whether the other side may have seen the request."""


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A request to the server of the transport. `target` is the path with its query; a body of text is JSON."""

    method: str
    target: str
    body: str | bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with any status."""

    status: int
    body: bytes = field(repr=False)
    retry_after: str | None = None
    """The header, as it came."""


@dataclass(slots=True)
class Exchange:
    """One request and its answer: their limits, in seconds or as `time.monotonic()`, and how far they came."""

    deadline: float
    connect: float
    read: float
    send_before: float | None = None
    admit: Callable[[str], bool] = lambda _: True
    """Whether a connection may go to this IP address."""
    max_bytes: int = MAX_ANSWER_BYTES
    is_cut: bool = False
    """Whether the rest of a longer body is ignored, and the body left as it came. Otherwise it is an error."""
    sent: bool = False
    late: bool = False
    """True when nothing was sent because `send_before` had passed."""
    expired: bool = False
    """True when the total time was up."""

    def limit(self, seconds: float) -> float:
        """Return the seconds that the next wait may last. Raises `TimeoutError` when the total time is up."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the total time for this call is up")
        return min(seconds, left)

    def begin_sending(self) -> float:
        """Record that the next bytes leave. Returns the seconds that each wait may last.

        Raises `TimeoutError` if it is too late to send.
        """
        wait = self.limit(self.read)
        if self.send_before is not None and time.monotonic() >= self.send_before:
            self.late = True
            raise TimeoutError("the time to send had passed")
        self.sent = True
        return wait


class Transport:
    """Sends repeatable requests over kept connections, and every other request over its own connection.

    `headers` may hold secrets and are never shown. Any number of threads may use it. It keeps `pool_size` connections.
    HTTPS goes through the HTTP proxy `proxy`, if one is given; its URL may hold a user and password.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        pool_size: int,
        tls: ssl.SSLContext,
        proxy: str | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        self._host, self._port = parts.hostname or "", parts.port
        self._prefix = parts.path
        self._tls = tls if parts.scheme == "https" else None
        self._proxy = urlsplit(proxy) if proxy and self._tls else None
        self._headers = dict(headers)
        self._idle: deque[HTTPConnection] = deque()
        self._unused: deque[tuple[float, HTTPConnection]] = deque()
        self._pool_size = pool_size

    def send(self, request: ProviderRequest, exchange: Exchange) -> Answer:
        """Send over a kept connection, if one is alive. Raises `ExchangeError`."""
        with _reporting(exchange):
            connection = self._find_idle() or self._open(exchange)
            with _closing_on_error(connection):
                answer = self._exchange(connection, request, exchange)
        if connection.sock is not None and len(self._idle) < self._pool_size:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def open(self, exchange: Exchange) -> HTTPConnection:
        """Return a connection for `send_once`: an unused one, or a new one. Raises `ExchangeError`."""
        with suppress(IndexError):
            while True:
                opened_at, connection = self._unused.pop()
                if time.monotonic() < opened_at + UNUSED_SECONDS and _is_alive(connection):
                    return connection
                connection.close()
        with _reporting(exchange):
            return self._open(exchange)

    def keep_unused(self, connection: HTTPConnection, *, since: float) -> None:
        """Keep a connection that `open` returned, `since` this time, for another request, unless it was used."""
        if connection.sock is not None:
            self._unused.append((since, connection))

    def send_once(
        self, request: ProviderRequest, exchange: Exchange, *, connection: HTTPConnection | None = None
    ) -> Answer:
        """Send over this connection, or a new one, and close it. The connection must be unused, so that no dying one
        loses the request. Raises `ExchangeError`."""
        with _reporting(exchange):
            connection = connection or self._open(exchange)
            try:
                return self._exchange(connection, request, exchange, headers={"Connection": "close"})
            finally:
                connection.close()

    def close(self) -> None:
        """Close the kept connections."""
        for kept in (*self._idle, *(connection for _, connection in self._unused)):
            kept.close()
        self._idle.clear()
        self._unused.clear()

    def _find_idle(self) -> HTTPConnection | None:
        with suppress(IndexError):  # none is left, also because another thread has taken the last one
            while True:
                connection = self._idle.pop()
                if _is_alive(connection):
                    return connection
                connection.close()
        return None

    def _open(self, exchange: Exchange) -> HTTPConnection:
        """Connect, and shake hands over TLS. Not a byte of a request leaves."""
        connection = (HTTPConnection if self._tls is None else http.client.HTTPSConnection)(self._host, self._port)
        sock = self._reach(connection, exchange)
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_hostname=connection.host, do_handshake_on_connect=False)
            with _closing_on_error(sock), _bounded(sock, exchange):
                sock.settimeout(exchange.limit(exchange.connect))
                sock.do_handshake()
        connection.sock = sock
        return connection

    def _reach(self, connection: HTTPConnection, exchange: Exchange) -> socket.socket:
        """Return a socket that is connected to the server of this connection, through the proxy if there is one."""
        if self._proxy is None:
            place = (connection.host, connection.port)
            return connect(*place, longest=exchange.connect, limit=exchange.limit, admit=exchange.admit)
        host, port = self._proxy.hostname or "", self._proxy.port or http.client.HTTP_PORT
        sock = connect(host, port, longest=exchange.connect, limit=exchange.limit)
        with _closing_on_error(sock), _bounded(sock, exchange):
            sock.settimeout(exchange.limit(exchange.connect))
            open_tunnel(sock, f"{connection.host}:{connection.port}", proxy=self._proxy)
        return sock

    def _exchange(
        self,
        connection: HTTPConnection,
        request: ProviderRequest,
        exchange: Exchange,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        kind = {"Content-Type": "application/json"} if isinstance(request.body, str) else {}
        with _bounded(connection.sock, exchange):
            connection.sock.settimeout(exchange.begin_sending())
            body = request.body.encode() if isinstance(request.body, str) else request.body
            connection.request(
                request.method, self._prefix + request.target, body, {**self._headers, **kind, **(headers or {})}
            )
            with connection.getresponse() as response:
                read = _read_body if not exchange.is_cut else HTTPResponse.read
                content = read(response, exchange.max_bytes)
            exchange.limit(0)  # a socket that was shut down among the headers looks like the end of a whole answer
            return Answer(response.status, content, response.headers.get("Retry-After"))


def _is_alive(connection: HTTPConnection) -> bool:
    """Whether the server has neither closed the connection nor sent anything over it.

    It reads, because TLS has messages of its own: after the handshake a server sends session tickets.
    """
    connection.sock.settimeout(0)
    with suppress(OSError):  # includes what a closing server may cause
        try:
            connection.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
    return False


@contextmanager
def _bounded(sock: socket.socket, exchange: Exchange) -> Iterator[None]:
    """Shut the socket down when the total time is up: whatever waits for it then fails."""

    def expire() -> None:
        exchange.expired = True
        with suppress(OSError):  # it may be closed already
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = threading.Timer(exchange.limit(float("inf")), expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _closing_on_error(resource: socket.socket | HTTPConnection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        resource.close()
        raise


@contextmanager
def _reporting(exchange: Exchange) -> Iterator[None]:
    """Raise `ExchangeError` for whatever goes wrong, and chain only errors of this machine.

    The text of any other error may quote the other side, which may quote the key.
    """
    try:
        yield
    except _FAULTS as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        words = "the total time for this call is up" if exchange.expired else words
        raise ExchangeError(words) from (error if isinstance(error, OSError) else None)


def _read_body(response: HTTPResponse, max_bytes: int) -> bytes:
    body = response.read(max_bytes + 1)
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("gzip", "deflate"):  # although we ask for neither
        body = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(body, max_bytes + 1)
    if len(body) > max_bytes:
        raise OSError(f"the answer is larger than {max_bytes} bytes")
    if response.length:  # `read` with a limit does not notice that the body was cut short
        raise http.client.IncompleteRead(body, response.length)
    return body
