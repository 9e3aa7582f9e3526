"""A server that does to its clients what a script says, byte by byte, and keeps what they sent.

with ScriptedServer(script) as server: ...     # each connection runs `script(peer)` in a thread of its own
"""

import contextlib
import functools
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import trustme


@functools.cache
def make_authority() -> trustme.CA:
    """A certificate authority of this test run."""
    return trustme.CA()


def trust_authority() -> ssl.SSLContext:
    """A client's context that trusts the servers of this test run."""
    context = ssl.create_default_context()
    make_authority().configure_trust(context)
    return context


@dataclass(frozen=True)
class Received:
    """A request as it came; `connection` counts from 0."""

    connection: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Peer:
    """The server's side of one connection."""

    def __init__(self, server: "ScriptedServer", sock: socket.socket, number: int) -> None:
        self.number = number
        self.sock = sock
        self._server = server
        self._buffer = b""

    def read_request(self) -> Received | None:
        """The next request, recorded; None when the client has closed."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._receive():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers.get("content-length", 0))
        while len(self._buffer) < length and self._receive():
            pass
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        method, target, _ = first.split(" ")
        received = Received(self.number, method, target, headers, body)
        self._server.requests.append(received)
        return received

    def read_byte(self) -> bytes:
        """One byte of whatever comes; empty when the client closed without sending any."""
        return self.sock.recv(1)

    def answer(self, status: int = 200, body: object = b"", **headers: str) -> None:
        """A whole answer; a body that is not bytes is sent as JSON. `Retry_After="1"` names a header."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {
            "Content-Length": str(len(content)),
            **{name.replace("_", "-"): each for name, each in headers.items()},
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        self.send(f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + content)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes, *, every: float = 0.02) -> None:
        """One byte at a time, then spaces for ever, until the client leaves."""
        for byte in data:
            self.send(bytes([byte]))
            self.wait(every)
        while not self._server.stopping.is_set():
            self.send(b" ")
            self.wait(every)

    def wait(self, seconds: float) -> None:
        """Do nothing for this long, or until the test is over."""
        self._server.stopping.wait(seconds)

    def hang(self) -> None:
        """Do nothing until the test is over."""
        self._server.stopping.wait()

    def start_tls(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        make_authority().issue_cert("127.0.0.1").configure_cert(context)
        self.sock = context.wrap_socket(self.sock, server_side=True)

    def reset(self) -> None:
        """Close with RST, as a crashed machine's peer does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _receive(self) -> bytes:
        data = self.sock.recv(65536)
        self._buffer += data
        return data


Script = Callable[[Peer], None]


class ScriptedServer:
    """Listens on a free loopback port while it is entered; leaves no thread and no socket behind."""

    def __init__(self, script: Script) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._script = script
        self._ended = 0
        self._ending = threading.Condition()
        self._peers: list[Peer] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "ScriptedServer":
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        # close() alone does not wake a thread in accept() or recv(); shutdown() does.
        for sock in (self._listener, *(peer.sock for peer in self._peers)):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in self._threads)

    def wait_for_request(self, seconds: float = 60) -> None:
        """Until the first one is read: a client that gives up early may be gone before."""
        deadline = time.monotonic() + seconds
        while not self.requests:
            assert time.monotonic() < deadline, "no request came"
            time.sleep(0.01)

    def wait_for_ends(self, connections: int, seconds: float = 60) -> None:
        """Until this many connections have come and been closed on this side."""
        with self._ending:
            assert self._ending.wait_for(lambda: self._ended >= connections, seconds)

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            peer = Peer(self, sock, self.connections)
            self._peers.append(peer)
            self.connections += 1
            self._start(self._serve, peer)

    def _serve(self, peer: Peer) -> None:
        # The client leaving in the middle is what many tests are about.
        with contextlib.suppress(OSError, ValueError):
            self._script(peer)
        with contextlib.suppress(OSError):
            peer.sock.shutdown(socket.SHUT_RDWR)
        peer.sock.close()
        with self._ending:
            self._ended += 1
            self._ending.notify_all()

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()


def answering(*answers: tuple[int, object]) -> Script:
    """A well-behaved keep-alive server: one answer after the other over all its connections, the last one repeated."""
    left = list(answers)

    def script(peer: Peer) -> None:
        while peer.read_request():
            status, body = left.pop(0) if len(left) > 1 else left[0]
            peer.answer(status, body)

    return script


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A loopback port that refuses connections and that nobody else can take."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@contextlib.contextmanager
def full_port() -> Iterator[int]:
    """A loopback port whose queue is full: a connection attempt gets no answer at all."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
