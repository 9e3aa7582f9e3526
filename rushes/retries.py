"""How long to wait after an error before another try, as pure functions of the attempt.

Full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): a uniform draw between nothing and
a ceiling that doubles, so that clients that failed together do not come back together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

LONGEST_WISH = timedelta(hours=1)
"""How long a Retry-After is heeded: a nonsensical one must not park paid work."""


def backoff(attempt: int, *, base: timedelta, cap: timedelta, random: Callable[[], float]) -> timedelta:
    """The wait after failure number `attempt` (from 1): uniform up to `base * 2**(attempt - 1)`, at most `cap`.

    `random` gives a number in [0, 1).
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
    """How one kind of failure is met. Only the caller's own deadline ends it."""

    base: timedelta
    cap: timedelta

    def next_delay(
        self, attempt: int, *, random: Callable[[], float], retry_after: timedelta | None = None
    ) -> timedelta:
        """The wait after failure number `attempt` (from 1).

        The other side's own wish (up to an hour) is a floor; what it told many at once is spread out over `base`.
        """
        delay = backoff(attempt, base=self.base, cap=self.cap, random=random)
        if retry_after is None:
            return delay
        return max(delay, min(retry_after, LONGEST_WISH) + random() * self.base)


SUBMIT_NOT_SENT = RetryPolicy(base=timedelta(seconds=1), cap=timedelta(seconds=60))
"""Name resolution, refused or timed-out connections: surely nothing bought, and not the job's fault.

The account waits so, too, after an unconfirmed submission whose answer had a Retry-After or that came of a probe."""

RENDER_FAILED = RetryPolicy(base=timedelta(seconds=5), cap=timedelta(minutes=2))
"""The provider failed the render for a reason of its own and refunds it: bought anew, as often as the job may be."""

CHECK_FAILED = RetryPolicy(base=timedelta(seconds=1), cap=timedelta(minutes=1))
"""A poll or sweep met 429, 5xx or no answer; shared by all checks of an account."""

STORE_FAILED = RetryPolicy(base=timedelta(seconds=2), cap=timedelta(minutes=5))
"""The storage is full or cannot be written; the file is paid for, so it is tried until there is room."""

OUTPUT_FAILED = RetryPolicy(base=timedelta(seconds=5), cap=timedelta(minutes=30))
"""The output host did not give a job's file; six days after completion end this, not a number of attempts."""

OUTPUT_PROBED = RetryPolicy(base=timedelta(seconds=2), cap=timedelta(seconds=30))
"""An outage of the output host: one download probes at a time, and all others wait for its success."""

ACCOUNT_BACKED_OFF = RetryPolicy(base=timedelta(seconds=5), cap=timedelta(minutes=5))
"""The account was refused (key, credit, rate): the whole account waits, no job loses an attempt."""
