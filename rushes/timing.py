"""When work is due: how long to wait after an error before the next try, and work that is due every few seconds. Pure.

Full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): a uniform draw between zero and a
ceiling that doubles, so that clients that failed together do not retry together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LONGEST_WISH = timedelta(hours=1)
"""The longest Retry-After that is obeyed. A nonsensical one must not block paid work."""


def backoff(attempt: int, *, base: timedelta, cap: timedelta, random: Callable[[], float]) -> timedelta:
    """Return the wait after failure number `attempt` (from 1): uniform up to `base * 2**(attempt - 1)`, at most `cap`.

    `random` returns a number in [0, 1).
    """
    return random() * _ceiling(attempt, base=base, cap=cap)


def _ceiling(attempt: int, *, base: timedelta, cap: timedelta) -> timedelta:
    if base <= timedelta(0):
        return timedelta(0)
    doublings = max(0, attempt - 1)
    reached = doublings >= (cap // base).bit_length()  # otherwise 2**doublings <= cap // base: nothing overflows
    return cap if reached else base * (1 << doublings)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The waits after one kind of failure. Only the caller's own deadline ends the retries."""

    base: timedelta
    cap: timedelta

    def next_delay(
        self, attempt: int, *, random: Callable[[], float], retry_after: timedelta | None = None
    ) -> timedelta:
        """Return the wait after failure number `attempt` (from 1).

        `retry_after` (up to an hour) is a lower bound. Many clients may get the same one, so it is spread over `base`.
        """
        delay = backoff(attempt, base=self.base, cap=self.cap, random=random)
        if retry_after is None:
            return delay
        return max(delay, min(retry_after, LONGEST_WISH) + random() * self.base)


def read_retry_after(value: str, *, now: datetime) -> timedelta | None:
    """Read `Retry-After`, seconds or a date (RFC 9110 10.2.3), as a wait from `now`, at most an hour.

    Returns None if it is unreadable. The provider does not document this header; gateways in front of it send it.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), LONGEST_WISH.total_seconds()))
    try:
        moment = parsedate_to_datetime(text)
        wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, timedelta(0)), LONGEST_WISH)


SUBMIT_NOT_SENT = RetryPolicy(base=timedelta(seconds=1), cap=timedelta(seconds=60))
"""Name resolution failed, or the connection was refused or timed out: nothing was bought, and no job is at fault.

The account also waits this long after an unconfirmed submission that had a Retry-After or came from a probe."""

UPLOAD_FAILED = RetryPolicy(base=timedelta(seconds=5), cap=timedelta(minutes=10))
"""A file could not be sent to the provider. Its job is queued again meanwhile, and loses no attempt."""

RENDER_FAILED = RetryPolicy(base=timedelta(seconds=5), cap=timedelta(minutes=2))
"""The provider failed the render by its own fault and refunds it. It is bought again, up to the job's attempts."""

CHECK_FAILED = RetryPolicy(base=timedelta(seconds=1), cap=timedelta(minutes=1))
"""A poll or sweep got 429, 5xx or no answer. All checks of an account share this wait."""

STORE_FAILED = RetryPolicy(base=timedelta(seconds=2), cap=timedelta(minutes=5))
"""The storage is full or not writable. The file is paid for, so the store step is tried until there is room."""

OUTPUT_FAILED = RetryPolicy(base=timedelta(seconds=5), cap=timedelta(minutes=30))
"""The output host did not deliver a job's file. The retries end six days after completion, not after some attempts."""

OUTPUT_PROBED = RetryPolicy(base=timedelta(seconds=2), cap=timedelta(seconds=30))
"""An outage of the output host. One download at a time probes it, and all others wait for its success."""

ACCOUNT_BACKED_OFF = RetryPolicy(base=timedelta(seconds=5), cap=timedelta(minutes=5))
"""The account was refused (key, credit, rate). The whole account waits, and no job loses an attempt."""


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
