"""Follow the event feed: as a stream, or by long polling where a stream does not come through."""

import contextlib
import math
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from itertools import takewhile
from typing import Any

import requests

from rushes_client.connection import Connection
from rushes_client.errors import ApiAway, ClientError
from rushes_client.models import Event

QUIET_SECONDS = 40.0
"""A stream sends a comment every fifteen seconds. After this long without one it is broken."""
WAIT_SECONDS = 20
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 30.0
STREAM = "/v1/events/stream"


Step = tuple[int | None, Event | None]
"""The id to continue from, if it is known, and what happened there; None: the connection is alive."""


def follow(
    connection: Connection,
    *,
    after: int | None,
    kinds: Sequence[str] = (),
    batch: str | None = None,
    deadline: float = math.inf,
) -> Generator[Event | None, None, None]:
    """Yield every event after this id, until `close`. It continues where it was after a broken connection.

    None means that nothing has happened for some seconds, or until `deadline` (of `time.monotonic`). Without `after` it
    begins with the oldest event. Raises `Declined` if the API refuses it, for example because the key was revoked.
    """
    query: dict[str, Any] = {"kinds": ",".join(kinds) or None, "batch": batch}
    read, failures = _stream, 0
    while not connection.is_closed:
        try:
            steps = read(connection, query | {"after": after}, max(0.1, deadline - time.monotonic()))
            for cursor, event in takewhile(lambda _: not connection.is_closed, steps):
                failures, after = 0, after if cursor is None else cursor
                yield event
        except _NoStream:
            read = _poll  # a proxy keeps the stream to itself
        except ApiAway as error:
            failures += 1
            yield None
            time.sleep(error.retry_after or min(LONGEST_PAUSE_SECONDS, 0.25 * 2 ** min(failures, 10)))


class Changes:
    """Says whether something happened to a batch. A thread follows its events until the connection is closed."""

    def __init__(self, connection: Connection, batch: str) -> None:
        self._connection = connection
        self._batch = batch
        self._happened = threading.Event()
        self._is_alive = False
        threading.Thread(target=self._run, name="rushes-changes", daemon=True).start()

    def take(self) -> bool:
        """Return whether something may have happened since the last call: always, while no events come through."""
        happened = self._happened.is_set()
        self._happened.clear()
        return happened or not self._is_alive

    def _run(self) -> None:
        with contextlib.suppress(ClientError):
            cursor = self._connection.get("events", after="latest", limit=1)["cursor"]
            for event in follow(self._connection, after=cursor, batch=self._batch):
                self._is_alive = True
                if event is not None:
                    self._happened.set()
        self._is_alive = False


class _NoStream(Exception):
    """The stream was opened and nothing came, not even its first comment."""


def _stream(connection: Connection, query: dict[str, Any], left: float) -> Iterator[Step]:
    """Yield what one stream brings until it ends, which is an `ApiAway` as well."""
    has_begun, headers = False, {"Accept": "text/event-stream"}
    seconds = min(QUIET_SECONDS, left)
    try:
        with connection.open_stream(STREAM, params=query, seconds=seconds, headers=headers) as answer:
            for step in _read_steps(answer):
                has_begun = True
                yield step
    except requests.RequestException as error:
        is_given_up = not has_begun and seconds == QUIET_SECONDS
        raise (_NoStream if is_given_up else ApiAway("the stream of events was cut off")) from error
    raise ApiAway("the stream of events ended", retry_after=PAUSE_SECONDS)


def _read_steps(answer: requests.Response) -> Iterator[Step]:
    cursor, data = None, b""
    for line in answer.iter_lines():
        if line.startswith(b"id:"):
            cursor = int(line[3:])
        elif line.startswith(b"data:"):
            data = line[5:]
        elif not line:  # only now is it complete; comments come without data
            yield cursor, Event.model_validate_json(data) if data else None
            data = b""


def _poll(connection: Connection, query: dict[str, Any], left: float) -> Iterator[Step]:
    """Yield what one request finds. It waits for something to happen."""
    page = connection.get("events", **query, wait=int(min(WAIT_SECONDS, left)))
    for item in page["items"]:
        event = Event.model_validate(item)
        yield event.id, event
    yield page["cursor"], None
