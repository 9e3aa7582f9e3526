"""A client of the event stream: it may stop reading, go away at any moment, and come back."""

import json
import time
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from tests.support.access import KEY

PATIENCE_SECONDS = 60.0


class Block(NamedTuple):
    """One block of the stream. Without `data`, it is a comment, or moves the last id only."""

    last_id: int
    kind: str | None
    data: dict[str, Any] | None
    comment: str | None


class EventStream:
    """An open stream. `last_id` is what a browser would send as `Last-Event-ID`."""

    def __init__(self, url: object, query: str = "", *, key: str = KEY, last_id: int | None = None) -> None:
        parts = urlsplit(str(url))
        self._connection = HTTPConnection(str(parts.hostname), parts.port, timeout=PATIENCE_SECONDS)
        headers = {"Authorization": f"Bearer {key}"} | ({} if last_id is None else {"Last-Event-ID": str(last_id)})
        self._connection.request("GET", f"/v1/events/stream?{query}", headers=headers)
        self._answer = self._connection.getresponse()
        self._received = b""
        self.last_id = last_id or 0
        self.status, self.headers = self._answer.status, self._answer.headers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()
        self._answer.close()

    def read(self) -> Block | None:
        """The next block; None at the end of the stream. Raises `TimeoutError`."""
        text = self._read_block()
        if text is None:
            return None
        fields = dict(line.split(": ", 1) for line in text.decode().split("\n"))
        self.last_id = int(fields.get("id", self.last_id))
        data = json.loads(fields["data"]) if "data" in fields else None
        return Block(self.last_id, fields.get("event"), data, fields.get(""))

    def read_items(self, count: int) -> list[dict[str, Any]]:
        """The next items."""
        items: list[dict[str, Any]] = []
        while len(items) < count:
            block = self.read()
            assert block is not None, f"the stream ended after {len(items)} of {count} items"
            items += [block.data] if block.data is not None else []
        return items

    def read_to_end(self) -> float:
        """Read until the server ends the stream. Returns the seconds that this took."""
        began = time.monotonic()
        while self.read() is not None:
            assert time.monotonic() - began < PATIENCE_SECONDS
        return time.monotonic() - began

    def _read_block(self) -> bytes | None:
        while b"\n\n" not in self._received:
            more = self._answer.read1(65_536)
            if not more:
                return None
            self._received += more
        block, _, self._received = self._received.partition(b"\n\n")
        return block
