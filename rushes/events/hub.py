"""The hub: reads new events once per process, and passes them on to everybody who listens.

A listener takes a coroutine of the caller's, and neither a thread nor a connection while it waits.
"""

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models import queries
from models.db.errors import DatabaseAway
from models.db.session import Sessions, one_statement
from models.queries.events.feed import FeedEvent, FeedFilter
from rushes.errors import Unavailable
from rushes.events.horizon import Horizon
from rushes.events.reading import FeedPage, read_feed

MOST_LISTENERS = 10_000
QUEUED_EVENTS = 256
"""Events that wait for a listener. One that has more to take reads them from the database."""
TURN_EVENTS, CAUGHT_UP_EVENTS = 1_000, 500
TURN_SECONDS = 0.1
AWAY_SECONDS = 1.0
KEY_CHECK_SECONDS = 3.0
READERS, READER_SECONDS = 2, 10.0
"""Threads that read for requests and listeners, and the longest wait for one. Thousands that come at once must not keep
others from pushing. Whoever waits for longer gets 503 without any work: its client would not wait for the outcome."""
MANY_CONNECTIONS = 6
"""With a pool of fewer connections, one thread reads."""

Answer = TypeVar("Answer")
log = structlog.get_logger(__name__)


class Turn(NamedTuple):
    """What one turn of the hub has read."""

    end: int
    events: list[FeedEvent]
    refused_keys: Collection[UUID]


class Listener:
    """One who follows the feed. `cursor` is the id up to which it has got everything.

    `is_over` says that it gets nothing more: its key is no longer accepted, or the process stops.
    """

    def __init__(self, hub: "Hub", choice: FeedFilter, *, after: int, key_id: UUID | None) -> None:
        self.choice, self.key_id, self.cursor = choice, key_id, after
        self.is_over = False
        self._hub = hub
        self._queue: deque[FeedEvent] = deque()
        self._queues_from = hub.position
        self._has_missed = False
        self._woken = asyncio.Event()
        self._read: asyncio.Future[FeedPage] | None = None

    def offer(self, event: FeedEvent) -> None:
        """Queue an event if it is a chosen one."""
        if self._has_missed or not self.choice.has(event.kind):
            return
        if len(self._queue) >= QUEUED_EVENTS:
            self.miss()
            return
        self._queue.append(event)
        self._woken.set()

    def miss(self) -> None:
        """Let it read the database up to the hub's position, and then go on with the queue."""
        self._queue.clear()
        self._has_missed = True
        self._woken.set()

    def end(self) -> None:
        self.is_over = True
        self._woken.set()

    async def take(self, seconds: float) -> list[FeedEvent]:
        """Return the next events, and move `cursor`. Waits at most `seconds`; the list is then empty."""
        if self._has_missed:
            self._has_missed, self._queues_from = False, self._hub.position
        if self.cursor < self._queues_from:
            return await self._catch_up(seconds)
        if not self._queue and not self.is_over:
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
        if self._has_missed or self.is_over:
            return []
        found = [each for each in self._queue if each.id > self.cursor]
        self._queue.clear()
        self.cursor = max(self.cursor, self._hub.position)
        return found

    async def _catch_up(self, seconds: float) -> list[FeedEvent]:
        """Read a page from the database. Without an answer in time, the next call waits for the same page."""
        if self._read is None:
            read = partial(
                read_feed, choice=self.choice, after=self.cursor, until=self._queues_from, limit=CAUGHT_UP_EVENTS
            )
            self._read = asyncio.ensure_future(self._hub.ask(read))
        await asyncio.wait({self._read}, timeout=seconds)
        if not self._read.done():
            return []
        try:
            page = self._read.result()
        except (DatabaseAway, SQLAlchemyError, Unavailable):
            await asyncio.sleep(min(seconds, AWAY_SECONDS))
            return []
        finally:
            self._read = None
        self.cursor = page.cursor
        return page.items

    def close(self) -> None:
        if self._read is not None:
            self._read.cancel()


class Hub:
    """Reads for all listeners of a process. `position` is the id up to which it has passed events on."""

    def __init__(self, sessions: Sessions, *, connections: int) -> None:
        self.position = 0
        self.horizon = Horizon(sessions)
        self._sessions = sessions
        self._listeners: set[Listener] = set()
        self._topics: defaultdict[UUID | None, set[Listener]] = defaultdict(set)
        self._wanted = asyncio.Event()
        self._readers = asyncio.Semaphore(READERS if connections >= MANY_CONNECTIONS else 1)
        self._is_stale, self._is_closed, self._is_away = True, False, False
        self._keys_checked_at = 0.0

    def require_room(self) -> None:
        """Raise `Unavailable` if nobody more may listen."""
        if len(self._listeners) >= MOST_LISTENERS or self._is_closed:
            raise Unavailable(
                f"this process has {MOST_LISTENERS:,} streams, or stops: try again", retry_after=timedelta(seconds=5)
            )

    @contextmanager
    def listen(self, choice: FeedFilter, *, after: int, key_id: UUID | None) -> Iterator[Listener]:
        """A listener to the chosen events with ids above `after`, for as long as the block lasts."""
        listener = Listener(self, choice, after=after, key_id=key_id)
        self._listeners.add(listener)
        self._topics[choice.topic].add(listener)
        self._wanted.set()
        if self._is_closed:
            listener.end()
        try:
            yield listener
        finally:
            listener.close()
            self._listeners.discard(listener)
            self._topics[choice.topic].discard(listener)
            if not self._topics[choice.topic]:
                del self._topics[choice.topic]

    async def ask(self, find: Callable[[Session], Answer]) -> Answer:
        """Ask the database in one of the few threads for that. Raises `Unavailable` if none gets free in time."""

        def find_now() -> Answer:
            with one_statement(self._sessions) as session:
                return find(session)

        return await self._read_in_turn(find_now)

    async def find_end(self) -> int:
        """Return the end of the feed; 0 if it is not known, or if there is no event."""
        return await self._read_in_turn(self.horizon.advance)

    async def _read_in_turn(self, read: Callable[[], Answer]) -> Answer:
        try:
            async with asyncio.timeout(READER_SECONDS):
                await self._readers.acquire()
        except TimeoutError:
            raise Unavailable("too many requests for events came at once: try again") from None
        reading = asyncio.ensure_future(asyncio.to_thread(read))
        reading.add_done_callback(self._release_reader)
        return await asyncio.shield(reading)  # a caller that goes away does not end the query

    def _release_reader(self, reading: asyncio.Future[Any]) -> None:
        self._readers.release()
        if not reading.cancelled():
            reading.exception()  # marks it as seen: the caller may have gone away

    async def run(self) -> None:
        """Pass on new events, for as long as somebody listens. Runs until it is cancelled."""
        while True:
            if not self._listeners:
                self._is_stale = True
                self._wanted.clear()
                await self._wanted.wait()
            await asyncio.sleep(await self._take_turn())

    def close(self) -> None:
        """End every listener, and each that comes."""
        self._is_closed = True
        for listener in self._listeners:
            listener.end()

    async def _take_turn(self) -> float:
        """One turn. Returns the seconds until the next one. Never raises, because nobody would start the hub again."""
        try:
            turn = await asyncio.to_thread(self._read, self._list_keys())
        except (DatabaseAway, SQLAlchemyError) as error:
            if not self._is_away:
                log.warning("events.database_away", error=str(error) if isinstance(error, DatabaseAway) else "")
            self._is_away = True
            return AWAY_SECONDS
        except Exception:
            log.exception("events.turn_failed")
            return AWAY_SECONDS
        self._is_away = False
        self._pass_on(turn)
        return TURN_SECONDS if self.position == turn.end else 0.0

    def _list_keys(self) -> set[UUID]:
        """The keys of all listeners, if it is time to check them."""
        now = time.monotonic()
        if now - self._keys_checked_at < KEY_CHECK_SECONDS:
            return set()
        self._keys_checked_at = now
        return {each.key_id for each in self._listeners if each.key_id is not None}

    def _read(self, keys: set[UUID]) -> Turn:
        end, events, refused = self.horizon.advance(), list[FeedEvent](), set[UUID]()
        is_new = end > self.position and not self._is_stale  # else listeners read on from where each of them is
        if is_new or keys:
            with one_statement(self._sessions) as session:
                refused = keys - queries.keys.list_usable(session, keys) if keys else refused
                if is_new:
                    events = queries.feed.list_feed(session, after=self.position, until=end, limit=TURN_EVENTS)
        return Turn(end, events, refused)

    def _pass_on(self, turn: Turn) -> None:
        """Give the events to those who listen for them. Nothing else runs meanwhile, so `position` fits the queues."""
        before, is_put_back = self.position, turn.end < self.position
        for event in turn.events:
            for topic in {event.batch_id, event.tenant_id, None}:
                for listener in self._topics.get(topic, ()):
                    listener.offer(event)
        self.position = turn.events[-1].id if len(turn.events) == TURN_EVENTS else turn.end
        if self._is_stale and self.position > before:
            for listener in self._listeners:
                listener.miss()
        self._is_stale = turn.end == 0 and not self.horizon.is_empty  # the end is not known yet
        if is_put_back or turn.refused_keys:
            for listener in self._listeners:
                if is_put_back or listener.key_id in turn.refused_keys:
                    listener.end()
