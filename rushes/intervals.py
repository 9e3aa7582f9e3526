"""Work that is due every few seconds. Pure: the caller gives the time."""

from dataclasses import dataclass


@dataclass(slots=True)
class Every:
    """Work that begins at most once in `seconds`. It is due at first. Times are monotonic seconds."""

    seconds: float
    began_at: float = float("-inf")

    def is_due(self, now: float) -> bool:
        """Return whether the work is due. A caller that begins it sets `began_at`."""
        return now - self.began_at >= self.seconds

    def begin_if_due(self, now: float) -> bool:
        """Return the same. Work that is due counts as begun now, even if it fails."""
        due = self.is_due(now)
        if due:
            self.began_at = now
        return due
