"""A stand-in for the API: it answers what a test has written down, in order, and keeps what it was asked."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.http_server import serve_http

Run = Callable[..., tuple[int, str, str]]
"""Runs a command line against a stub; returns exit code, stdout and stderr."""

UUID = "019a2b3c-4d5e-7f60-8123-456789abcdef"


@dataclass
class Answer:
    """One answer. `drop` closes the connection instead, after the request was read."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    body: Any
    headers: Mapping[str, str]


@dataclass
class StubApi:
    """Where it listens, what it will answer (the last answer again and again), and what it was asked."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)


@contextlib.contextmanager
def serve_stub(*answers: Answer) -> Iterator[StubApi]:
    """A stub on a free port, for the length of the block."""

    class Handler(_Handler):
        stub = StubApi("", list(answers))

    with serve_http(Handler) as Handler.stub.url:
        yield Handler.stub


class _Handler(BaseHTTPRequestHandler):
    stub: StubApi
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        stub = self.stub
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_file = self.headers.get("Content-Type", "").startswith("image/")
        body = content if is_file or not content else json.loads(content)
        if self.path.startswith("/v1/events"):  # as an API without the event feed: commands then ask again and again
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        stub.asked.append(Asked(self.command, self.path, body or None, self.headers))
        answer = stub.answers.pop(0) if len(stub.answers) > 1 else stub.answers[0]
        if answer.drop:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = _answer  # noqa: N815 - the library's names
    do_POST = _answer  # noqa: N815


def action(kind: str, **changes: Any) -> dict[str, Any]:
    """An action that is done, as the API shows it."""
    counts = {"matched": 1, "changed": 0, "refused": 0, "cost": "0.3600"}
    return {"id": UUID, "kind": kind, "state": "done", "problem": None, **counts, **changes}


def batch(**changes: Any) -> dict[str, Any]:
    """A batch as the API tells it, all of it succeeded unless set otherwise."""
    states = {"queued": 0, "rendering": 0, "storing": 0, "succeeded": 2, "failed": 0, "cancelled": 0}
    return {
        "id": UUID,
        "name": "pilot",
        "jobs": 2,
        "done": 2,
        "cost": {"estimated": "0.7200", "held": "0.0000", "spent": "0.7200"},
        "created_at": "2026-11-05T12:00:00.000000Z",
        "ended_at": "2026-11-05T12:00:09.000000Z",
        "elapsed_seconds": 9.0,
        "seconds_left": None,
        "time_left": None,
        "time_left_unknown": None,
        "finish_by": None,
        "finish_by_chance": None,
        "at_risk": False,
        "mean_seconds": 8.5,
        "warnings": [],
        "repeated": False,
        **changes,
        "states": states | changes.get("states", {}),
    }


def job(**changes: Any) -> dict[str, Any]:
    """A job as the API tells it."""
    return {
        "id": UUID,
        "batch": "pilot",
        "number": 1,
        "model": "ltx-2-pro",
        "state": "succeeded",
        "client_ref": None,
        "metadata": None,
        "input": {"prompt": "a fox", "duration": 6, "generate_audio": True},
        "priority": 0,
        "price": "0.3600",
        "attempts": 1,
        "max_attempts": 3,
        "cost": {"held": "0.0000", "spent": "0.3600"},
        "error": None,
        "cancel_requested": False,
        "created_at": "2026-11-05T12:00:00.000000Z",
        "ended_at": "2026-11-05T12:00:09.000000Z",
        "video": None,
        "waits_for": None,
        "progress": None,
        "time_left": None,
        "time_left_unknown": None,
        "predictions": [],
        **changes,
    }


def problem(status: int, detail: str = "", *errors: tuple[str, str], **headers: str) -> Answer:
    """A problem document."""
    body = {
        "type": "about:blank",
        "title": "Refused",
        "status": status,
        "detail": detail,
        "errors": [{"field": name, "message": message} for name, message in errors],
    }
    return Answer(status, body, {"Content-Type": "application/problem+json", **headers})
