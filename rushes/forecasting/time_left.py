"""How long renders take yet, by their age: means, quantiles, samples, and the latest of many."""

import math
import random
from array import array
from bisect import bisect_right
from dataclasses import asdict, dataclass
from functools import lru_cache
from statistics import pvariance

from rushes.render_times.poll_spacing import RenderTime, expected_seconds_left

LOW, HIGH = 0.05, 0.95
LONGEST_SECONDS = 7 * 86_400.0
"""The provider's retention: nothing renders longer."""

_YOUNGEST, _STEP = 0.02, 0.03  # the grid: 20 ms to the longest in steps of 3 %
_IMPOSSIBLE = 1e-300
_TABLES = 128
_STRATA, _FRESH_STRATA = 32, 256


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """Seconds left on average, and between which the truth lies nine times in ten."""

    expected_seconds: float
    low_seconds: float
    high_seconds: float

    def as_numbers(self) -> dict[str, float]:
        """By their names, to a tenth of a second: as events and the API tell it."""
        return {name: round(seconds, 1) for name, seconds in asdict(self).items()}


def render_time_left(render_time: RenderTime, age_seconds: float) -> TimeLeft:
    """What a render of this age takes yet: the mean, and the quantiles of what its age leaves possible."""
    low, high = (_find_left(render_time, age_seconds, -math.log(1 - share)) for share in (LOW, HIGH))
    return as_time_left(expected_seconds_left(render_time, age_seconds), low, high)


def add_time_left(first: TimeLeft, then: TimeLeft) -> TimeLeft:
    """One after the other; the interval is rather too wide, as if the two were long together."""
    return TimeLeft(
        first.expected_seconds + then.expected_seconds,
        first.low_seconds + then.low_seconds,
        first.high_seconds + then.high_seconds,
    )


def share_done(age_seconds: float, left_seconds: float) -> float:
    """How much of a render is done: its age in what it is expected to take in all, so that a late one never seems near
    its end for long. 0 at birth, below 1 while anything is left.
    """
    total = age_seconds + left_seconds
    return max(0.0, age_seconds) / total if total > 0 else 0.0


def sample(
    dice: random.Random, render_time: RenderTime, age: float = 0.0, *, of: float = 1.0, runs: int
) -> list[float]:
    """What the latest of so many renders of this age takes yet, run by run."""
    lengths = _spread(render_time, age, of)
    longest = lengths[-1]
    # The longest decide when a batch ends: those of the last share are drawn one by one, the others from the list.
    return [
        _find_latest(render_time, age, of, share=1 - dice.random() / len(lengths)) if length == longest else length
        for length in dice.choices(lengths, k=runs)
    ]


@lru_cache(maxsize=_TABLES)
def measure(render_time: RenderTime) -> tuple[float, float]:
    """Mean and variance of what a render takes."""
    lengths = [_find_latest(render_time, 0.0, 1.0, share=(place + 0.5) / 1_000) for place in range(1_000)]
    return expected_seconds_left(render_time, 0.0), pvariance(lengths)


@lru_cache(maxsize=4 * _TABLES)
def _spread(render_time: RenderTime, age: float, of: float) -> list[float]:
    """Quantiles in the middle of equal shares, rising."""
    count = _FRESH_STRATA if age == 0 and of == 1 else _STRATA
    return [_find_latest(render_time, age, of, share=(place + 0.5) / count) for place in range(count)]


def _find_latest(render_time: RenderTime, age: float, of: float, *, share: float) -> float:
    """By when, with this probability, the latest of so many renders of this age will have ended."""
    return _find_left(render_time, age, -math.log(max(_IMPOSSIBLE, -math.expm1(math.log(share) / max(of, 1.0)))))


def _find_left(render_time: RenderTime, age: float, hazard: float) -> float:
    """After how long a render of this age has met so much more hazard: the inverse of its survival."""
    ages, met = _tabulate(render_time)
    goal = _interpolate(age, ages, met) + hazard
    if age >= ages[-1]:  # so far out that a flat hazard is the best that can be said
        return min(LONGEST_SECONDS, hazard / max(render_time.hazard(age), 1 / LONGEST_SECONDS))
    return max(0.0, _interpolate(goal, met, ages) - age)


@lru_cache(maxsize=_TABLES)
def _tabulate(render_time: RenderTime) -> "tuple[array[float], array[float]]":
    """Ages, and the hazard met by each: the negative logarithm of its survival."""
    ages, met = array("d", [0.0]), array("d", [0.0])
    age = _YOUNGEST
    while age <= LONGEST_SECONDS and (survival := render_time.survival(age)) > _IMPOSSIBLE:
        ages.append(age)
        met.append(max(met[-1], -math.log(survival)))
        age *= 1 + _STEP
    return ages, met


def _interpolate(value: float, source: "array[float]", target: "array[float]") -> float:
    """Read a table of two rising columns between its lines; beyond its end, the end."""
    above = bisect_right(source, value)
    if above == len(source):
        return target[-1]
    low, high = source[above - 1], source[above]
    return target[above - 1] + (target[above] - target[above - 1]) * (value - low) / (high - low)


def as_time_left(expected: float, low: float, high: float) -> TimeLeft:
    """A mean beyond its own interval, as of a tail without end, is told as the interval's bound."""
    return TimeLeft(min(max(expected, low), high), low, high)
