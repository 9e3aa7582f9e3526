"""Limits on renders queued at the provider, and on submissions at once and per minute; kept in the leader's memory."""

import math

MEMORY_SECONDS = 20.0
"""Past admissions fade with this time constant."""
LARGEST_SHARE = 0.25
"""Share of the slots: the cap on renders that queue, whatever the formula yields."""
SHRINKS_BELOW = 0.7
"""The size shrinks only to less than this share of the current one, so that it does not oscillate."""

PAGE_RENDERS = 100
ANSWER_SECONDS = 0.5
"""The part of the delay that no check can avoid, in seconds: the list's lag and the dispatcher's turn."""
CUT = 0.7
GROWTH = 0.1
SMALLEST_WINDOW = 4
"""Submissions that may always be under way, however many are handed back."""
SMALLEST_BUCKET = 20
"""Smaller allowances are used at once: a person who pushes two jobs sees both begin."""


def lateness_of_checks(*, request_cost_seconds: float, median_seconds: float, slots: int) -> float:
    """Estimate the mean seconds from a completion to the check that sees it, until measurements exist.

    By the square-root law this is half of the spacing sqrt(2 c / h). When most renders end, the hazard h is about 2 per
    median and render. One page of the provider's list checks up to a hundred renders at once. An answer also takes
    time, so the result is at least `ANSWER_SECONDS`.
    """
    renders = min(slots, PAGE_RENDERS)
    return max(ANSWER_SECONDS, math.sqrt(request_cost_seconds * median_seconds / renders) / 2)


class OvercommitSizer:
    """Sizes `overcommit`: renders submitted beyond the slots, so that a freed slot finds the next render waiting.

    While the slots are full, each completion causes an admission, so both have the same rate. While we refill a freed
    slot, m more renders complete. By Little's law, m is the rate times `seen_seconds`, plus the submissions under way.
    Completions are random, so the size is m + 2 sqrt(m). All times are monotonic seconds.

    `seen_seconds` runs from the provider's completion until we know of it. The code that measures it may change it at
    any time.
    """

    def __init__(self, *, seen_seconds: float) -> None:
        self.seen_seconds = seen_seconds
        self._at: float | None = None
        self._free = 0
        self._admitted = 0.0
        self._submitting = 0.0

    def note(self, *, now: float, admitted: int, submitting: int, free: int) -> None:
        """Record a turn of the dispatcher: jobs admitted, submissions not yet accepted before it, slots left free."""
        fade = 0.0 if self._at is None else math.exp((self._at - now) / MEMORY_SECONDS)
        self._admitted = self._admitted * fade + admitted
        self._submitting = submitting + (self._submitting - submitting) * fade
        self._at, self._free = now, free

    def next_size(self, *, current: int, slots: int) -> int:
        """Return the next size. It starts at one render, at most doubles, and stays the same while slots are free."""
        if self._free > 0:
            return current
        m = self._admitted / MEMORY_SECONDS * self.seen_seconds + self._submitting
        wanted = min(math.ceil(m + 2 * math.sqrt(m)), max(1, int(slots * LARGEST_SHARE)))
        if current * SHRINKS_BELOW <= wanted <= current:
            return current
        return min(wanted, max(1, 2 * current))


class SubmitTokenBucket:
    """Lets a burst fill empty slots, then spreads submissions, so that none waits a whole minute behind another burst.

    Once half of the minute's allowance is used, the rate limit counts as binding. The bucket spreads the rest evenly
    over one window. After that it spreads the full allowance, until three quarters of it are free again.
    """

    def __init__(self, *, per_window: int, window_seconds: float) -> None:
        self._per_window = per_window
        self._window = window_seconds
        self._bound_at: float | None = None
        self._share = 1.0
        self._tokens = 0.0
        self._at = float("-inf")

    def allow(self, *, now: float, left: int) -> int:
        """Return how many submissions may go now, if the last window leaves room for `left`."""
        half = self._per_window // 2
        if self._per_window < SMALLEST_BUCKET:
            return left
        if 4 * left >= 3 * self._per_window:
            self._bound_at = None
        elif self._bound_at is None and left <= half:
            self._bound_at, self._share, self._tokens, self._at = now, left / self._per_window, 0.0, now
        if self._bound_at is None:
            return left - half
        share = self._share if now - self._bound_at < self._window else 1.0
        rate = share * self._per_window / self._window
        self._tokens = min(self._tokens + rate * (now - self._at), 1.0 + rate)
        self._at = now
        return min(left, int(self._tokens))

    def take(self, count: int) -> None:
        """Record that `count` of the allowed submissions were used."""
        self._tokens -= min(count, self._tokens)


class InFlightWindow:
    """Limits submissions under way: shrinks after some were handed back, then grows again up to the threads.

    A submission is handed back when no thread took it within its rate slot. That wastes a message and a step. It means
    that messages arrive faster than the worker or the provider handles them. The limit is multiplied by `CUT` at most
    once a second.
    """

    def __init__(self) -> None:
        self._share = 1.0
        self._cut_at = float("-inf")

    def allow(self, *, now: float, threads: int, handed_back: int) -> int:
        """Return how many threads may post in this turn of the dispatcher; `handed_back` lost their rate slots."""
        if not handed_back:
            self._share = min(1.0, self._share + GROWTH / threads)
        elif now - self._cut_at >= 1:
            self._share, self._cut_at = self._share * CUT, now
        return max(min(threads, SMALLEST_WINDOW), round(self._share * threads))
