"""The optimal schedule of checks for a known render time: a dynamic programme over a grid of ages.

R. E. Barlow, L. C. Hunter and F. Proschan, "Optimum checking procedures", J. SIAM 11(4), 1963: every check costs
`price` seconds, and every second between the end of a render and the check that finds it costs one second.
"""

import math
from bisect import bisect_left
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

from rushes.render_times.poll_spacing import RenderTime

_UNLIKELY = 1e-7


class Point(NamedTuple):
    """The average cost of a schedule, per render."""

    requests: float
    delay_seconds: float


class Grid(NamedTuple):
    """A render time on a grid of ages; `waits` is the integral of survival up to each age."""

    ages: list[float]
    survivals: list[float]
    waits: list[float]


def find_optimum(render_time: RenderTime, *, price: float, steps: int = 8_000) -> Point:
    """Requests and delay of the best schedule; exact on a grid of `steps` up to an age that is never reached."""
    grid = _lay_grid(render_time, steps)
    following = _solve(grid, price)
    requests = delay = 0.0
    now = 0
    while now < len(following):
        requests += grid.survivals[now]
        delay += _wait_between(grid, now, following[now])
        now = following[now]
    return Point(requests, delay)


@lru_cache
def mean_seconds(render_time: RenderTime) -> float:
    """The mean of a render time."""
    return _integrate(_space_evenly(render_time, 20_000), render_time).waits[-1]


def _lay_grid(render_time: RenderTime, steps: int) -> Grid:
    """Half of the steps are even; the others follow the square-root law, with fewer at ages that few renders reach."""
    even = _space_evenly(render_time, steps)
    passed = list(accumulate(math.sqrt(render_time.hazard(age) * render_time.survival(age)) for age in even))
    ages = set(even[::2])
    for number in range(1, steps // 2):
        root = passed[-1] * number / (steps // 2)
        above = max(1, bisect_left(passed, root))
        share = (root - passed[above - 1]) / (passed[above] - passed[above - 1])
        ages.add(even[above - 1] + min(1.0, max(0.0, share)) * (even[above] - even[above - 1]))
    return _integrate(sorted(ages), render_time)


def _space_evenly(render_time: RenderTime, steps: int) -> list[float]:
    end = 1.0
    while render_time.survival(end) > _UNLIKELY:
        end *= 1.1
    return [end * number / steps for number in range(steps + 1)]


def _integrate(ages: list[float], render_time: RenderTime) -> Grid:
    survivals = [render_time.survival(age) for age in ages]
    pieces = [
        (later - age) * (before + after) / 2
        for (age, later), (before, after) in zip(pairwise(ages), pairwise(survivals), strict=True)
    ]
    return Grid(ages, survivals, list(accumulate(pieces, initial=0.0)))


def _solve(grid: Grid, price: float) -> list[int]:
    """For each age that was checked, the index of the best next check; solved from the end backwards.

    The delay is a Monge array (two nested steps cost no less than two crossing ones), so the best next check after a
    later age is never earlier: each search stops at the result for the next age.
    """
    ages, survivals, waits = grid
    last = len(ages) - 1
    onward, following = [0.0] * len(ages), [last] * last
    for now in range(last - 1, -1, -1):
        farthest = following[now + 1] if now + 1 < last else last
        age, survival, waited = ages[now], survivals[now], waits[now]
        best, chosen = math.inf, farthest
        for check in range(now + 1, farthest + 1):
            cost = (ages[check] - age) * survival - (waits[check] - waited) + onward[check]
            if cost < best:
                best, chosen = cost, check
        onward[now] = best + price * survival
        following[now] = chosen
    return following


def _wait_between(grid: Grid, now: int, check: int) -> float:
    """Expected delay of renders that finish between two checks: the integral of (check - t) over the density."""
    ages, survivals, waits = grid
    return (ages[check] - ages[now]) * survivals[now] - (waits[check] - waits[now])
