"""The curves of the plot, computed and not measured: the best that checks and list pages can reach."""

import math
from collections.abc import Sequence

from bench.optimum import Point, find_optimum, mean_seconds
from bench.plot import Curve
from bench.results import Result
from bench.watching import price_fixed
from rushes.render_times.poll_spacing import LogNormal

PAGE = 100
"""Predictions on one page of the provider's list."""
PRICES = tuple(10 ** (step / 4 - 4) for step in range(17))
"""Prices of one check, in medians of delay: from constant checking to one or two checks in all."""
INTERVALS = tuple(10 ** (step / 6 - 2) for step in range(13))
"""Intervals of the fixed schedules, in medians."""


def find_sweep(result: Result, interval: float) -> Point:
    """List pages read at equal intervals, as many as are needed to see every running render."""
    pages = math.ceil(result.slots / PAGE)
    return Point(pages * mean_seconds(_times_of(result)) / (interval * result.slots), interval / 2)


def draw_curves(result: Result) -> list[Curve]:
    """For the render times of a load: the exact optimum, and checks and list pages at fixed intervals."""
    times = _times_of(result)
    intervals = [interval * result.median for interval in INTERVALS]
    return [
        _curve("exact optimum, one render a check", [_find_optimum(result, price) for price in PRICES], "-"),
        _curve("checks at a fixed interval", [price_fixed(times, spacing=interval) for interval in intervals], "--"),
        _curve("list pages at a fixed interval", [find_sweep(result, interval) for interval in intervals], ":"),
    ]


def _times_of(result: Result) -> LogNormal:
    return LogNormal(result.median, result.sigma)


def _find_optimum(result: Result, price: float) -> Point:
    return find_optimum(_times_of(result), price=price * result.median, steps=4_000)


def _curve(label: str, points: Sequence[Point], style: str) -> Curve:
    return Curve(label, [each.requests for each in points], [each.delay_seconds for each in points], style)
