"""The per-minute limit on submissions."""

from collections import deque


class SlidingMinute:
    """Lets at most `limit` requests through in any 60 seconds. What it turns away does not count against it."""

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
        """Note a request that was let through; moments must not go back."""
        self._passed.append(moment)
