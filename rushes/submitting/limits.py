"""How many renders queue at the provider, and how many submissions go at once and a minute; the leader's memory."""

import math

MEMORY_SECONDS = 20.0
"""What was admitted fades with this time constant."""
LARGEST_SHARE = 0.25
"""Of the slots: more renders than these never queue, whatever the arithmetic says."""
SHRINKS_BELOW = 0.7
"""A smaller size is believed only where it is this much smaller, so that the size does not flutter."""

PAGE_RENDERS = 100
ANSWER_SECONDS = 0.5
"""With the list's own lag and the turns of the dispatcher no completion is known sooner, on the average."""
CUT = 0.7
GROWTH = 0.1
SMALLEST_WINDOW = 4
"""Of submissions under way, however many are handed back."""
SMALLEST_BUCKET = 20
"""Smaller allowances are used as they come: a person who pushed two jobs sees both begin."""


def lateness_of_checks(*, request_cost_seconds: float, median_seconds: float, slots: int) -> float:
    """Mean seconds from a completion to the check that sees it, by the square-root law, before any was measured.

    Half of the spacing sqrt(2 c / h), with a hazard of about 2 per median and render where most renders end; one page
    of the provider's list checks up to a hundred renders at once. An answer takes its time, too.
    """
    renders = min(slots, PAGE_RENDERS)
    return max(ANSWER_SECONDS, math.sqrt(request_cost_seconds * median_seconds / renders) / 2)


class OvercommitSizer:
    """Sizes `overcommit`: renders submitted beyond the slots, so that a freed slot finds the next one there already.

    While the slots are full, admissions follow completions, so their rate is that of completions. In the time that a
    freed slot takes to be refilled m more complete: the rate times `seen_seconds`, and those that are being submitted
    right now, by Little's law. They come at random, so m + 2 sqrt(m) are kept. All times are monotonic seconds.

    `seen_seconds`, from the provider's completion to our knowing, may be changed at any time by whoever measures it.
    """

    def __init__(self, *, seen_seconds: float) -> None:
        self.seen_seconds = seen_seconds
        self._at: float | None = None
        self._free = 0
        self._admitted = 0.0
        self._submitting = 0.0

    def note(self, *, now: float, admitted: int, submitting: int, free: int) -> None:
        """One turn of the dispatcher: what it admitted, how many were not accepted yet before, and what stayed free."""
        fade = 0.0 if self._at is None else math.exp((self._at - now) / MEMORY_SECONDS)
        self._admitted = self._admitted * fade + admitted
        self._submitting = submitting + (self._submitting - submitting) * fade
        self._at, self._free = now, free

    def next_size(self, *, current: int, slots: int) -> int:
        """The size to use from now on: at first one render, never more than doubled, the same while slots are free."""
        if self._free > 0:
            return current
        m = self._admitted / MEMORY_SECONDS * self.seen_seconds + self._submitting
        wanted = min(math.ceil(m + 2 * math.sqrt(m)), max(1, int(slots * LARGEST_SHARE)))
        if current * SHRINKS_BELOW <= wanted <= current:
            return current
        return min(wanted, max(1, 2 * current))


class SubmitTokenBucket:
    """Lets a burst fill empty slots, then spreads submissions, so that none waits a whole minute behind another burst.

    Once half of the minute's allowance is used the rate limit is taken to bind: what is left is spread evenly over one
    window, and from then on the allowance is, until three quarters of it are free again.
    """

    def __init__(self, *, per_window: int, window_seconds: float) -> None:
        self._per_window = per_window
        self._window = window_seconds
        self._bound_at: float | None = None
        self._share = 1.0
        self._tokens = 0.0
        self._at = float("-inf")

    def allow(self, *, now: float, left: int) -> int:
        """How many submissions may go now, where the last window leaves room for so many."""
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
        """So many of those allowed were used."""
        self._tokens -= min(count, self._tokens)


class InFlightWindow:
    """How many submissions may be under way: fewer after some were handed back, then more again, up to the threads.

    One is handed back when no thread took it within its rate slot. That is a message and a step for nothing,
    and means that the worker or the provider is slower than messages come. Cut at most once a second, to `CUT`.
    """

    def __init__(self) -> None:
        self._share = 1.0
        self._cut_at = float("-inf")

    def allow(self, *, now: float, threads: int, handed_back: int) -> int:
        """One turn of the dispatcher: how many of its threads may post, where so many submissions lost their place."""
        if not handed_back:
            self._share = min(1.0, self._share + GROWTH / threads)
        elif now - self._cut_at >= 1:
            self._share, self._cut_at = self._share * CUT, now
        return max(min(threads, SMALLEST_WINDOW), round(self._share * threads))
