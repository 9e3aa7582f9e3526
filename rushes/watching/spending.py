"""How requests are spent: within a budget, on the pages of the list that are worth one. Pure: standard library only.

The budget is a token bucket and its debt; its times are monotonic seconds. The pages are windows over ordered rows.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

BURST_SECONDS = 0.2
_ONE_IN_TWENTY = 1.645  # standard deviations


class Window(NamedTuple):
    """Neighbours `first` to `last` (indices, both inclusive), and their total worth."""

    worth: float
    first: int
    last: int


def pick_windows(ranks: Sequence[int], worths: Sequence[float], *, size: int, price: float) -> list[Window]:
    """Return the best disjoint windows that are worth the price, best first; if none is, the single best one.

    Row i has place `ranks[i]` in the list (rising) and is worth `worths[i]` (not negative). A window spans at most
    `size` places, including places of rows that are not given.
    """
    picked: list[Window] = []
    taken = bytearray(len(ranks))
    for window in sorted(_span_windows(ranks, worths, size=size, price=price), reverse=True):
        if not any(taken[window.first : window.last + 1]):
            taken[window.first : window.last + 1] = b"\1" * (window.last + 1 - window.first)
            picked.append(window)
    return picked


def shrink_window(size: int, *, share: float) -> int:
    """Return how many renders of ours a page of `size` holds if they are this share of it: at least one.

    The result is below the mean, so that nineteen pages in twenty hold this many.
    """
    share = min(1.0, max(0.0, share))
    spread = math.sqrt(share * (1 - share) / size)
    return max(1, math.floor(size * (share - _ONE_IN_TWENTY * spread)))


def _span_windows(ranks: Sequence[int], worths: Sequence[float], *, size: int, price: float) -> list[Window]:
    """Take the widest window that ends at each row. Return those worth the price, or else the one worth most."""
    sums = [*accumulate(worths, initial=0.0)]
    windows: list[Window] = []
    best, best_worth, first = None, 0.0, 0
    for last, rank in enumerate(ranks):
        while rank - ranks[first] >= size:
            first += 1
        worth = sums[last + 1] - sums[first]
        if worth >= price:
            windows.append(Window(worth, first, last))
        elif worth > best_worth:
            best, best_worth = (first, last), worth
    return windows or ([Window(best_worth, *best)] if best else [])


class RequestBudget:
    """At most `rate` requests a second, in bursts of `BURST_SECONDS`. Requests beyond it are paid back first."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._tokens, self._filled_at = 1.0, float("-inf")
        self._unscheduled_at = float("-inf")  # no request outside the schedule before
        self._owed = 0
        self.spent = 0  # requests so far

    @property
    def tokens(self) -> float:
        """Requests that may be made now; a fraction is progress towards the next one."""
        return self._tokens

    @property
    def is_in_debt(self) -> bool:
        """Whether requests beyond the budget are still unpaid: until then, none is granted."""
        return self._owed > 0

    def fill(self, now: float) -> None:
        """Add the tokens earned since the last call, at most a burst."""
        burst = self._find_burst()
        since = now - max(self._filled_at, now - burst / self.rate)
        self._tokens = min(burst, self._tokens + since * self.rate)
        self._filled_at = now

    def take(self) -> None:
        """Spend a token on one request of the schedule."""
        self._tokens -= 1
        self.spent += 1

    def count_allowed(self, *, now: float) -> int:
        """Return how many requests outside the schedule may be made now; the caller charges those it makes.

        One may be made a little early, because the schedule may leave no whole token. The next must wait until that one
        is made up for. These requests take at most half of the budget, so that the schedule gets the other half.
        """
        self.fill(now)
        return 0 if self._owed or self._tokens < 0 or now < self._unscheduled_at else max(1, int(self._tokens))

    def charge(self, count: int) -> None:
        """Charge `count` requests that were made outside the schedule."""
        self._tokens -= count
        self.spent += count
        self._unscheduled_at = max(self._unscheduled_at, self._filled_at) + 2 * count / self.rate

    def pay_debt(self, owed: int, *, now: float) -> int:
        """Pay for requests made beyond those granted, as far as the budget allows; return how many were paid.

        Pass the unpaid rest again later.
        """
        self.fill(now)
        paid = max(0, min(owed, int(self._tokens)))
        self._tokens -= paid
        self.spent += paid
        self._owed = owed - paid
        return paid

    def seconds_until(self, tokens: float) -> float:
        """Return the time until there are this many tokens; negative if there are already."""
        return (tokens - self._tokens) / self.rate

    def seconds_until_payable(self) -> float:
        """Return the time until the debt, or a burst of it, can be paid."""
        return self.seconds_until(min(self._owed, self._find_burst()))

    def _find_burst(self) -> float:
        return max(1.0, self.rate * BURST_SECONDS)


class RunningMean:
    """A mean that each value changes by `share` of the difference; without a start, it begins at the first value."""

    def __init__(self, share: float, *, start: float | None = None) -> None:
        self._share = share
        self.value = start

    def add(self, value: float) -> None:
        """Include a value."""
        self.value = value if self.value is None else self.value + self._share * (value - self.value)
