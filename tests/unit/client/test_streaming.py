"""Events are followed over broken connections: nothing is missed and nothing comes twice."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from rushes_client import Connection, Declined, Event, Rushes, streaming
from rushes_client.streaming import Changes, follow
from tests.support.http_server import serve_http
from tests.support.simulator_client import wait_until

LAST = 40


class Feed(BaseHTTPRequestHandler):
    """A feed of `LAST` events. Each stream brings a few of them and is cut off, in turn in one of several ways."""

    protocol_version = "HTTP/1.1"
    asked: list[str]
    released: threading.Event
    streams = True

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        after = LAST if query.get("after") == ["latest"] else int(query.get("after", ["0"])[0])
        if path == "/v1/events":
            self._page(after)
        elif len(self.asked) % 4 == 0:
            self._send(503, b'{"status": 503, "detail": "away"}')
        else:
            self._stream(after)

    def _page(self, after: int) -> None:
        ids = range(after + 1, min(after + 7, LAST) + 1)
        page = {"items": [describe(each) for each in ids], "cursor": max([after, *ids]), "more": False}
        self._send(200, json.dumps(page).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, after: int) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if not self.streams:
            self.released.wait(30)
        ids = range(after + 1, min(after + 5, LAST) + 1)
        text = ": hello\n\n" + "".join(f"id: {each}\ndata: {json.dumps(describe(each))}\n\n" for each in ids)
        cut = text if len(self.asked) % 2 else text + f"id: {after + 6}\ndata: {{"
        self.wfile.write(f"{len(cut):x}\r\n{cut}\r\n".encode())
        if len(self.asked) % 3:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def describe(number: int) -> dict[str, Any]:
    return {"id": number, "at": "2026-11-05T12:00:00Z", "kind": "job.succeeded", "new": "field"}


@contextmanager
def serve_feed(*, streams: bool = True) -> Iterator[tuple[Connection, type[Feed]]]:
    handler = type("Handler", (Feed,), {"asked": [], "streams": streams, "released": threading.Event()})
    with serve_http(handler) as url, Rushes(url) as client:
        yield client, handler
        handler.released.set()


def ids_of(steps: Iterator[Event | None], count: int = LAST) -> list[int]:
    return [event.id for event in islice((each for each in steps if each is not None), count)]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(streaming, "LONGEST_PAUSE_SECONDS", 0.01)


def test_a_stream_that_breaks_is_continued_where_it_was() -> None:
    with serve_feed() as (client, feed):
        assert ids_of(follow(client, after=0, kinds=["job.*"], batch="pilot")) == list(range(1, LAST + 1))
    assert len(feed.asked) > LAST // 5
    assert all("kinds=job.%2A&batch=pilot" in path for path in feed.asked)


def test_events_are_polled_where_no_stream_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "QUIET_SECONDS", 0.2)
    with serve_feed(streams=False) as (client, feed):
        assert ids_of(follow(client, after=3), LAST - 3) == list(range(4, LAST + 1))
    assert [urlsplit(path).path for path in feed.asked].count("/v1/events/stream") == 1


def test_a_refusal_ends_the_stream() -> None:
    class Refusal(Feed):
        asked: list[str] = []  # noqa: RUF012 - one test's

        def do_GET(self) -> None:
            self._send(401, b'{"status": 401, "detail": "this API key was revoked"}')

    with serve_http(Refusal) as url, Rushes(url) as client, pytest.raises(Declined, match="revoked"):
        next(client.events(after=0))


def test_changes_are_reported_once_each() -> None:
    with serve_feed() as (client, _):
        changes = Changes(client, "pilot")
        assert changes.take()  # nothing came through yet, so something may have happened
        wait_until(lambda: not changes.take(), "the end of the changes")
    wait_until(lambda: "rushes-changes" not in {each.name for each in threading.enumerate()}, "the end of the thread")
