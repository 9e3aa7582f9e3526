"""A receiver of callbacks: a real HTTP server that keeps what came, and answers as it is asked to."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """A callback as it came. `at` is the monotonic time, `headers` have names in lower case."""

    at: float
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    path: str

    @property
    def webhook_id(self) -> str:
        return self.headers.get("webhook-id", "")


class ReceiverReply(NamedTuple):
    """How to answer. `hang` seconds pass first; a status of 0 closes the connection without an answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = NO_HEADERS
    hang: float = 0.0


Answering = Callable[[ReceivedCall], ReceiverReply | int]


class Receiver:
    """Serves on a free loopback port while it is entered. `calls` came; `taken` are those answered with 2xx."""

    def __init__(self, answering: Answering = lambda _: 200) -> None:
        self.answering = answering
        self.calls: list[ReceivedCall] = []
        self.taken: list[ReceivedCall] = []
        self._stopping = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            """Answers one request."""

            def do_POST(self) -> None:
                receiver._answer(self)

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        call = ReceivedCall(time.monotonic(), headers, body, handler.path)
        self.calls.append(call)
        reply = self.answering(call)
        reply = reply if isinstance(reply, ReceiverReply) else ReceiverReply(reply)
        if reply.hang:
            self._stopping.wait(reply.hang)
        if not reply.status:
            handler.close_connection = True
            return
        if 200 <= reply.status < 300:
            self.taken.append(call)
        handler.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(reply.body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A client that has gone is no error."""
