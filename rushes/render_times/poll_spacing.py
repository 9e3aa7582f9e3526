"""When to check a render again: Keller's law, as pure functions of its age.

J. B. Keller, "Optimum checking schedules for systems subject to random failure", Management Science 21(3), 1974: with
h(t) the hazard of finishing now and c the price of one request in seconds of delay, the best density of checks is
n(t) = sqrt(h(t) / (2 c)). The next check is due when the integral of n since the last check reaches 1.

Ages and lengths are seconds as floats. They count from the start of a render and are not points in time.
"""

import math
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Protocol

_YOUNGEST, _OLDEST, _STEP = 0.02, 1e7, 0.02  # the grid: 20 ms to 115 days in steps of 2 %
_TABLES = 128  # of 25 KB each


class RenderTime(Protocol):
    """The distribution of the time a render takes. Immutable, because computed tables are cached by its hash."""

    def __hash__(self) -> int: ...

    def hazard(self, age_seconds: float) -> float:
        """Return the chance per second of finishing at this age, given no finish before; finite, never negative."""

    def survival(self, age_seconds: float) -> float:
        """Return the chance of not having finished by this age: 1 at the start, never rising."""


@dataclass(frozen=True, slots=True)
class LogNormal:
    """The logarithms of render times are normal, with median `median_seconds` and standard deviation `sigma`."""

    median_seconds: float
    sigma: float

    def __post_init__(self) -> None:
        if not (self.median_seconds > 0 and self.sigma > 0):
            raise ValueError(f"median and sigma must be positive, not {self.median_seconds} and {self.sigma}")

    def hazard(self, age_seconds: float) -> float:
        if age_seconds <= 0:
            return 0.0
        return _inverse_mills(self._z(age_seconds)) / (self.sigma * age_seconds)

    def survival(self, age_seconds: float) -> float:
        return 1.0 if age_seconds <= 0 else math.erfc(self._z(age_seconds) / math.sqrt(2)) / 2

    def _z(self, age_seconds: float) -> float:
        return (math.log(age_seconds) - math.log(self.median_seconds)) / self.sigma


def _inverse_mills(z: float) -> float:
    """Density over survival of the standard normal. In the tail both underflow: use Laplace's continued fraction."""
    if z < 5:
        return math.exp(-z * z / 2) * math.sqrt(2 / math.pi) / math.erfc(z / math.sqrt(2))
    fraction = z
    for term in range(30, 0, -1):
        fraction = z + term / fraction
    return fraction


@dataclass(frozen=True, slots=True)
class _Table:
    """A render time on the grid, so that one look-up costs two bisections and no integral."""

    ages: "array[float]"
    checks: "array[float]"  # integral of sqrt(hazard) up to each age; independent of the price of a request
    left: "array[float]"  # integral of survival beyond each age


@lru_cache(maxsize=_TABLES)
def _tabulate(render_time: RenderTime) -> _Table:
    steps = math.ceil(math.log(_OLDEST / _YOUNGEST) / _STEP)
    ages = [0.0, *(_YOUNGEST * math.exp(_STEP * step) for step in range(steps + 1))]
    roots = [math.sqrt(render_time.hazard(age)) for age in ages]
    survivals = [render_time.survival(age) for age in ages]
    widths = [later - earlier for earlier, later in pairwise(ages)]
    pieces = [width * (a + b) / 2 for width, (a, b) in zip(widths, pairwise(roots), strict=True)]
    waits = [width * _log_mean(a, b) for width, (a, b) in zip(widths, pairwise(survivals), strict=True)]
    return _Table(
        ages=array("d", ages),
        checks=array("d", accumulate(pieces, initial=0.0)),
        left=array("d", [*accumulate(reversed(waits), initial=0.0)][::-1]),
    )


def _log_mean(before: float, after: float) -> float:
    """Return the mean of a survival that falls exponentially between two values. Exact for a flat hazard."""
    if after <= 0 or before - after <= 1e-9 * before:
        return (before + after) / 2
    return (before - after) / math.log(before / after)


def interpolate(value: float, source: "array[float]", target: "array[float]") -> float:
    """Interpolate a table of two ascending columns. Beyond its ends, return the end value."""
    above = bisect_right(source, value)
    if above == 0:
        return target[0]
    if above == len(source):
        return target[-1]
    low, high = source[above - 1], source[above]
    return target[above - 1] + (target[above] - target[above - 1]) * (value - low) / (high - low)


def count_checks(render_time: RenderTime, age: float) -> float:
    """Return the integral of sqrt(hazard) up to this age."""
    table = _tabulate(render_time)
    return interpolate(age, table.ages, table.checks)


def measure_growth(render_time: RenderTime, *, known_age: float, age: float, step: float) -> tuple[float, float]:
    """Return how much `count_checks` grows between two ages, and its growth per second in the `step` after them."""
    table = _tabulate(render_time)
    known, now, later = (interpolate(each, table.ages, table.checks) for each in (known_age, age, age + step))
    return now - known, (later - now) / step


def worth_of_check(checks: float) -> float:
    """Return the seconds of delay that a check is worth.

    `checks` is the growth of `count_checks` since the render was known to run. By Keller's law a check is due once its
    worth reaches the price of its request. With a flat hazard the worth is h t^2 / 2. A request that checks many
    renders is worth the sum of their worths.
    """
    return checks * checks / 2


def discount_missing_webhook(render_time: RenderTime, *, age: float, known_age: float, delivered: float) -> float:
    """Return the share of a check's worth that remains at `age` if no webhook has come since `known_age`.

    At `known_age` the render was known to run. `delivered` is the share of ended renders that webhooks report. A young
    render without a webhook is probably still running: the worth is multiplied by 1 - delivered, and the density of
    checks by its square root.
    The older the render, the more likely its webhook was lost, and the worth rises again. It is never below one ten
    thousandth, because a webhook is never the only way.
    """
    missed = max(0.0001, 1 - delivered)
    if missed >= 1:
        return 1.0
    before, now = render_time.survival(known_age), render_time.survival(age)
    if now >= before:
        return missed
    running = now / before
    unreported = missed * (1 - running)
    finished = unreported / (unreported + running)
    return max(missed, finished / -math.log(max(running, 1e-300)))


def expected_seconds_left(render_time: RenderTime, age: float) -> float:
    """Return the mean time left of a render of this age. Finite at any age."""
    survival = render_time.survival(age)
    table = _tabulate(render_time)
    above = bisect_right(table.ages, age)
    if survival < 1e-300 or above == len(table.ages):  # so far out that a flat hazard is the best estimate
        return 1 / max(render_time.hazard(age), 1 / _OLDEST)
    later = table.ages[above]
    left = table.left[above] + (later - age) * _log_mean(survival, render_time.survival(later))
    return left / survival


def prior_for(video_model_id: str, output_seconds: float, *, median_seconds: float = 100.0) -> RenderTime:
    """Return the render time assumed before any render has been seen: wide, and longer for longer videos.

    `median_seconds` is for 6 seconds of video on LTX-2 Pro. Little is known: the provider documents no times. One user
    reports 109 s for 6 seconds on Fast; another guesses 60 to 180 s on Pro and 15 to 45 s on Fast. Hence sigma 0.8: one
    render in ten takes less than 0.36 of the median, and one in ten more than 2.8 times the median.
    """
    speed = 0.7 if "fast" in video_model_id else 1.0
    return LogNormal(median_seconds=median_seconds * speed * math.sqrt(max(output_seconds, 1) / 6), sigma=0.8)


def resumed_spacing(window: int) -> timedelta:
    """Time between checks of a render that outlived `window` watch windows (from 1): 30 s, doubling to 15 minutes."""
    doublings = min(max(window, 1) - 1, 10)
    return min(timedelta(seconds=30) * (1 << doublings), timedelta(minutes=15))
