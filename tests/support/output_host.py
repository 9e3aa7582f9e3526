"""An output host of a test's own: one answer for every file, or one for each, and a count of the downloads."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.support.http_server import serve_http

PAGE = b"<!doctype html><html><title>maintenance</title></html>"


@dataclass(frozen=True)
class Answer:
    """What the host sends."""

    body: bytes = b""
    status: int = 200
    content_type: str = "video/mp4"


@dataclass
class OutputHost:
    """`always` answers every download; without it, `files` by their paths, and 404 for the rest."""

    url: str
    always: Answer | None = None
    files: dict[str, Answer] = field(default_factory=dict)
    downloads: Counter[str] = field(default_factory=Counter)

    def offer(self, name: str, body: bytes, *, content_type: str = "video/mp4") -> str:
        """Serve these bytes under a name; returns the address."""
        self.files[f"/{name}"] = Answer(body, content_type=content_type)
        return f"{self.url}/{name}"


@contextmanager
def open_output_host() -> Iterator[OutputHost]:
    """A host on a free port of loopback."""
    host = OutputHost("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            host.downloads[path] += 1
            answer = host.always or host.files.get(path, Answer(status=404))
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

    with serve_http(Handler) as host.url:
        yield host
