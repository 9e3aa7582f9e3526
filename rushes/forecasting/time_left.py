"""The time left of renders by their age: means, quantiles, samples, and the last of many."""

import math
import random
from array import array
from dataclasses import asdict, dataclass
from functools import lru_cache
from statistics import pvariance

from rushes.render_times.poll_spacing import RenderTime, expected_seconds_left, interpolate

LOW, HIGH = 0.05, 0.95
LONGEST_SECONDS = 7 * 86_400.0
"""The provider's retention. No render takes longer."""

_YOUNGEST, _STEP = 0.02, 0.03  # the grid: 20 ms to the longest in steps of 3 %
_IMPOSSIBLE = 1e-300
_TABLES = 128
_STRATA, _FRESH_STRATA = 32, 256


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """Mean seconds left, and the interval that holds the true value nine times in ten."""

    expected_seconds: float
    low_seconds: float
    high_seconds: float

    def as_numbers(self) -> dict[str, float]:
        """Return the values by name, to a tenth of a second, as in events and the API."""
        return {name: round(seconds, 1) for name, seconds in asdict(self).items()}


def render_time_left(render_time: RenderTime, age_seconds: float) -> TimeLeft:
    """Return the time left of a render of this age: the mean, and the quantiles given that age."""
    low, high = (_find_left(render_time, age_seconds, -math.log(1 - share)) for share in (LOW, HIGH))
    return as_time_left(expected_seconds_left(render_time, age_seconds), low, high)


def add_time_left(first: TimeLeft, then: TimeLeft) -> TimeLeft:
    """Add two times in sequence. The interval is slightly too wide, as if both were always long together."""
    return TimeLeft(
        first.expected_seconds + then.expected_seconds,
        first.low_seconds + then.low_seconds,
        first.high_seconds + then.high_seconds,
    )


def share_done(age_seconds: float, left_seconds: float) -> float:
    """Return the share of a render that is done: its age divided by its expected total time.

    A late render thus never seems near its end for long. 0 at the start, below 1 while any time is left.
    """
    total = age_seconds + left_seconds
    return max(0.0, age_seconds) / total if total > 0 else 0.0


def sample(
    dice: random.Random, render_time: RenderTime, age: float = 0.0, *, of: float = 1.0, runs: int
) -> list[float]:
    """Draw the time left of the last of `of` renders of this age, for each run."""
    lengths = _spread(render_time, age, of)
    longest = lengths[-1]
    # The longest renders decide when a batch ends. The last share is drawn one by one, the others from the list.
    return [
        _find_latest(render_time, age, of, share=1 - dice.random() / len(lengths)) if length == longest else length
        for length in dice.choices(lengths, k=runs)
    ]


@lru_cache(maxsize=_TABLES)
def measure(render_time: RenderTime) -> tuple[float, float]:
    """Return the mean and variance of a render's time."""
    lengths = [_find_latest(render_time, 0.0, 1.0, share=(place + 0.5) / 1_000) for place in range(1_000)]
    return expected_seconds_left(render_time, 0.0), pvariance(lengths)


@lru_cache(maxsize=4 * _TABLES)
def _spread(render_time: RenderTime, age: float, of: float) -> list[float]:
    """Return the quantiles at the middle of equal shares, ascending."""
    count = _FRESH_STRATA if age == 0 and of == 1 else _STRATA
    return [_find_latest(render_time, age, of, share=(place + 0.5) / count) for place in range(count)]


def _find_latest(render_time: RenderTime, age: float, of: float, *, share: float) -> float:
    """Return the time by which the last of `of` renders of this age ends with probability `share`."""
    return _find_left(render_time, age, -math.log(max(_IMPOSSIBLE, -math.expm1(math.log(share) / max(of, 1.0)))))


def _find_left(render_time: RenderTime, age: float, hazard: float) -> float:
    """Return the time after which a render of this age has met `hazard` more hazard: the inverse of its survival."""
    ages, met = _tabulate(render_time)
    goal = interpolate(age, ages, met) + hazard
    if age >= ages[-1]:  # so far out that a flat hazard is the best estimate
        return min(LONGEST_SECONDS, hazard / max(render_time.hazard(age), 1 / LONGEST_SECONDS))
    return max(0.0, interpolate(goal, met, ages) - age)


@lru_cache(maxsize=_TABLES)
def _tabulate(render_time: RenderTime) -> "tuple[array[float], array[float]]":
    """Return ages, and the hazard met up to each: the negative logarithm of its survival."""
    ages, met = array("d", [0.0]), array("d", [0.0])
    age = _YOUNGEST
    while age <= LONGEST_SECONDS and (survival := render_time.survival(age)) > _IMPOSSIBLE:
        ages.append(age)
        met.append(max(met[-1], -math.log(survival)))
        age *= 1 + _STEP
    return ages, met


def as_time_left(expected: float, low: float, high: float) -> TimeLeft:
    """Build a `TimeLeft`. A mean outside its own interval, as with an endless tail, is cut to the interval's bound."""
    return TimeLeft(min(max(expected, low), high), low, high)
