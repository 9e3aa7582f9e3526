"""The per-minute limit on submissions."""

from collections import deque


class SlidingMinute:
    """Admits at most `limit` requests in any 60 seconds. Refused requests do not count."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._passed: deque[float] = deque()

    def admit(self, now: float) -> bool:
        while self._passed and self._passed[0] <= now - 60:
            self._passed.popleft()
        if len(self._passed) >= self.limit:
            return False
        self.count(now)
        return True

    def count(self, moment: float) -> None:
        """Count an admitted request; moments must not decrease."""
        self._passed.append(moment)
