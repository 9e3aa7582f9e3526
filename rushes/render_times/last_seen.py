"""When the polls of this process last saw each render running or queued. Kept in memory, so it costs no writes.

Another process may have seen a render later, and a new process has seen nothing. So these ages are lower bounds, like
all data that render times are learned from.
"""

import threading
import time
from datetime import timedelta
from uuid import UUID

MOST = 20_000
"""The most renders that are remembered. Beyond this, the one noted first is dropped."""


class Sightings:
    """Safe to use from several threads."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._seen: dict[UUID, float] = {}  # monotonic seconds
        self._lock = threading.Lock()

    def note_running(self, prediction_id: UUID, *, asked_at: float) -> None:
        """Note that a render was running at this monotonic second, when we asked. The answer's time does not matter."""
        with self._lock:
            self._seen.pop(prediction_id, None)
            self._seen[prediction_id] = asked_at
            if len(self._seen) > self._most:
                del self._seen[next(iter(self._seen))]

    def end(self, prediction_id: UUID) -> timedelta | None:
        """Return how long ago this process last saw the render running, and forget the render."""
        with self._lock:
            seen_at = self._seen.pop(prediction_id, None)
        return timedelta(seconds=time.monotonic() - seen_at) if seen_at is not None else None
