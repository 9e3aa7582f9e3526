"""The curves of the plot, computed and not measured: what looks at one render at a time can reach at best.

The exact optimum is by dynamic programming over a fine grid of moments, which knows nothing of the square-root law
that it is there to judge. A look costs `price` seconds of delay; from the moment of one look the next one is chosen so
that expected delay plus the price of all looks to come is least.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.plot import Curve
from bench.results import Result

Floats = npt.NDArray[np.floating[Any]]

CELLS = 600
"""Of the grid, in one median."""
TAIL = 1e-5
PAGE = 100
"""Predictions on one page of the provider's list."""
PRICES = tuple(10 ** (step / 4 - 4) for step in range(17))
"""Of one look, in medians of delay: from a look all the time to a look or two in all."""
INTERVALS = tuple(10 ** (step / 6 - 2) for step in range(13))
"""Of the fixed schedule, in medians."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a schedule of looks comes to, per render."""

    requests: float
    delay: float


class LogNormal:
    """Render times on a grid of cells: how likely it is to end in each, with whatever lies beyond in the last one."""

    def __init__(self, median: float, sigma: float, *, cells: int = CELLS) -> None:
        self.step = median / cells
        longest = math.exp(sigma * NormalDist().inv_cdf(1 - TAIL))
        self.moments: Floats = np.arange(1 + math.ceil(longest * cells)) * self.step
        normal = NormalDist(0, sigma)
        known = [0.0, *(normal.cdf(math.log(moment / median)) for moment in self.moments[1:])]
        self.ended: Floats = np.array([*known[:-1], 1.0])
        within = np.diff(self.ended, prepend=0.0) * (self.moments - self.step / 2)
        self.weighted: Floats = np.cumsum(within)
        """The sum up to each moment of likelihood times time."""


def find_optimum(times: LogNormal, price: float) -> Schedule:
    """The best schedule there is when one look costs `price` seconds of delay."""
    moments, ended, weighted = times.moments, times.ended, times.weighted
    last = len(moments) - 1
    cost, following = np.zeros(last + 1), np.zeros(last + 1, dtype=int)
    for cell in range(last - 1, -1, -1):
        later = slice(cell + 1, None)
        delay = moments[later] * (ended[later] - ended[cell]) - (weighted[later] - weighted[cell])
        choices = delay + cost[later]
        best = int(np.argmin(choices))
        cost[cell], following[cell] = choices[best] + price * (1 - ended[cell]), cell + 1 + best
    looks, cell = 0.0, 0
    while cell < last:
        looks += 1 - float(ended[cell])
        cell = int(following[cell])
    return Schedule(looks, float(cost[0]) - price * looks)


def find_fixed(times: LogNormal, interval: float) -> Schedule:
    """Looks at equal distances, whatever the render: what most clients do."""
    likely = np.diff(times.ended, prepend=0.0)
    middles = np.maximum(times.moments - times.step / 2, 0)
    looks = np.ceil(middles / interval)
    return Schedule(float(np.sum(likely * looks)), float(np.sum(likely * (looks * interval - middles))))


def find_sweep(result: Result, interval: float) -> Schedule:
    """List pages read at equal distances, as many as it takes to see every render under way."""
    mean = result.median * math.exp(result.sigma**2 / 2)
    pages = math.ceil(result.slots / PAGE)
    return Schedule(pages * mean / (interval * result.slots), interval / 2)


def draw_curves(result: Result) -> list[Curve]:
    """For the render times of a load: the exact optimum, and looks and list pages at fixed intervals beside it."""
    times = LogNormal(result.median, result.sigma)
    intervals = [interval * result.median for interval in INTERVALS]
    return [
        _curve("exact optimum, one render a look", [_find_optimum_of(result, price) for price in PRICES], "-"),
        _curve("looks at a fixed interval", [find_fixed(times, interval) for interval in intervals], "--"),
        _curve("list pages at a fixed interval", [find_sweep(result, interval) for interval in intervals], ":"),
    ]


def _curve(label: str, schedules: Sequence[Schedule], style: str) -> Curve:
    return Curve(label, [each.requests for each in schedules], [each.delay for each in schedules], style)


def _find_optimum_of(result: Result, price: float) -> Schedule:
    # looks lie about sqrt(price) medians apart: some twenty cells between two of them are fine enough
    cells = max(100, math.ceil(20 / math.sqrt(price)))
    return find_optimum(LogNormal(result.median, result.sigma, cells=cells), price * result.median)
