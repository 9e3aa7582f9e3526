"""The end of the event feed: the last id below which no event can still appear."""

import threading
import time
from dataclasses import dataclass, field

import structlog

from models import queries
from models.db.session import Sessions, one_statement
from models.queries.events.feed import Mark

HELD_BACK_SECONDS = 5.0
"""Once a transaction has held the feed back for this long, a warning is logged, and repeated as often."""

log = structlog.get_logger(__name__)


@dataclass
class Horizon:
    """Finds the end of the feed, for all threads of a process.

    It marks the end of the history, and waits until every transaction that was open then has ended. `is_empty` says
    that there is no event. Else an end of 0 is not known yet: a transaction has been open since this process began.
    """

    sessions: Sessions
    is_empty: bool = False
    _settled: int = 0
    _mark: Mark | None = None
    _marked_at: float = 0.0
    _warned_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def advance(self) -> int:
        """Return the id up to which events may be read. Returns at once, also while a transaction holds it back."""
        with self._lock, one_statement(self.sessions) as session:
            last_id = queries.feed.find_last_id(session)
            self.is_empty = last_id == 0
            if last_id < self._settled:  # the database was put back to an earlier state
                self._settled, self._mark = 0, None
            if self._mark is None and last_id > self._settled:
                self._mark, self._marked_at = queries.feed.make_mark(session), time.monotonic()
            if self._mark is not None and queries.feed.is_settled(session, self._mark):
                self._settled, self._mark = self._mark.last_id, None
            self._warn()
            return self._settled

    def measure_delay(self) -> float:
        """Return for how many seconds the feed has been held back."""
        mark = self._mark
        return time.monotonic() - self._marked_at if mark is not None else 0.0

    def _warn(self) -> None:
        """Say that a transaction stays open, from time to time."""
        since = max(self._marked_at, self._warned_at)
        if self._mark is not None and time.monotonic() - since >= HELD_BACK_SECONDS:
            self._warned_at = time.monotonic()
            log.warning("events.held_back", seconds=round(self.measure_delay(), 1))
