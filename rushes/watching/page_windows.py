"""Which stretches of a list are worth a page of it: windows over rows in order, as pure functions."""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

_ONE_IN_TWENTY = 1.645  # standard deviations


class Window(NamedTuple):
    """Neighbours `first` to `last` (indices, both inside), and what they are worth together."""

    worth: float
    first: int
    last: int


def pick_windows(ranks: Sequence[int], worths: Sequence[float], *, size: int, price: float) -> list[Window]:
    """The best windows that share no row and are worth the price, best first; where none is, the best there is.

    Row i stands at place `ranks[i]` of the list (rising) and is worth `worths[i]` (not negative): a window spans at
    most `size` places, whatever stands at those that are not given.
    """
    picked: list[Window] = []
    taken = bytearray(len(ranks))
    for window in sorted(_span_windows(ranks, worths, size=size, price=price), reverse=True):
        if not any(taken[window.first : window.last + 1]):
            taken[window.first : window.last + 1] = b"\1" * (window.last + 1 - window.first)
            picked.append(window)
    return picked


def shrink_window(size: int, *, share: float) -> int:
    """How many of ours a page of `size` holds, where this share of what it shows is ours: at least one.

    Fewer than the mean, by what nineteen pages in twenty keep to.
    """
    share = min(1.0, max(0.0, share))
    spread = math.sqrt(share * (1 - share) / size)
    return max(1, math.floor(size * (share - _ONE_IN_TWENTY * spread)))


def find_alone(ranks: Sequence[int], *, size: int) -> list[int]:
    """The rows, by index, that no window of so many places shows together with another."""
    far = [True, *(rank - before >= size for before, rank in pairwise(ranks)), True]
    return [row for row in range(len(ranks)) if far[row] and far[row + 1]]


def _span_windows(ranks: Sequence[int], worths: Sequence[float], *, size: int, price: float) -> list[Window]:
    """The widest window that ends with each row, of those worth the price; or else the one worth most."""
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
