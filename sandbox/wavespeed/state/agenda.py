"""Scheduled events. The simulator has no timer per render; it catches up with the clock on each request or tick."""

import heapq
from collections.abc import Callable

Act = Callable[[float], None]


class Agenda:
    """Acts in the order of their due times. An act receives its due time, not the time at which it runs."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Act]] = []
        self._added = 0

    def at(self, moment: float, act: Act) -> None:
        """Run `act(moment)` once the clock has reached `moment`; equal moments keep their order."""
        heapq.heappush(self._heap, (moment, self._added, act))
        self._added += 1

    def run_until(self, now: float) -> None:
        """Run every act due by `now`, including acts that other acts add."""
        while self._heap and self._heap[0][0] <= now:
            moment, _, act = heapq.heappop(self._heap)
            act(moment)

    @property
    def next_due(self) -> float | None:
        return self._heap[0][0] if self._heap else None
