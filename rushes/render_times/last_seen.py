"""When polls of this process last saw which renders running, or queued: in memory, so that nothing is written for it.

Another process may have seen it later, and a new one has seen nothing: what is known here is a lower bound, as for all
that render times are learned from.
"""

import threading
import time
from datetime import timedelta
from uuid import UUID

MOST = 20_000
"""Renders that are remembered; beyond it the one that was noted first is forgotten."""


class Sightings:
    """Safe to use from several threads."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._seen: dict[UUID, float] = {}  # monotonic seconds
        self._lock = threading.Lock()

    def note_running(self, prediction_id: UUID, *, asked_at: float) -> None:
        """It was running when it was asked for, at this monotonic second; when the answer came says nothing."""
        with self._lock:
            self._seen.pop(prediction_id, None)
            self._seen[prediction_id] = asked_at
            if len(self._seen) > self._most:
                del self._seen[next(iter(self._seen))]

    def end(self, prediction_id: UUID) -> timedelta | None:
        """How long ago it was last seen running, as far as this process knows; it is remembered no more."""
        with self._lock:
            seen_at = self._seen.pop(prediction_id, None)
        return timedelta(seconds=time.monotonic() - seen_at) if seen_at is not None else None
