"""Finds the stretches of a list that are worth reading a page: windows over ordered rows, as pure functions."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

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
