"""Estimate render times from finished renders: a hazard per 5 % of age, shrunk towards a prior. Pure.

Observations are interval-censored (a render finished between the last check that saw it running and the check that
found it finished), right-censored (renders in flight) and enter late (only events inside the window count). Each one
adds to two histograms over age: finished renders, and seconds that renders were at risk. Their ratio is the hazard, the
Nelson-Aalen estimate. One pseudo-render of the prior is added to both, which gives the posterior mean of a Poisson rate
with a Gamma prior. The estimate itself decides where in its interval a render finished, repeated a few times
(Turnbull's self-consistency, stopped early: run to convergence it turns noise into spikes).

Ages and lengths are seconds as floats.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from statistics import fmean, variance
from typing import NamedTuple

from rushes.render_times.poll_spacing import RenderTime

WINDOW = 400
"""The most finished renders to learn from. More lower the hazard's error by their root, but remember drift longer."""

_STEP = 0.05  # narrower than any shape that checks a few seconds apart can resolve; the kernel spans five
_YOUNGEST, _OLDEST = 0.1, 1e6
_STEPS = math.ceil(math.log(_OLDEST / _YOUNGEST) / _STEP)
_EDGES = (0.0, *(_YOUNGEST * math.exp(_STEP * step) for step in range(_STEPS + 1)))
_BUCKETS = len(_EDGES) - 1
_KERNEL = (1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9)
_PSEUDO_RENDERS = 1.0
_ROUNDS = 4
_NEVER = 1e-12
_NARROWEST = 1e-6  # as a share of the age: the width of an interval without width
_FIRST_BLOCK, _GROWTH = 20, 1.5
_CHANGED = 2.5  # standard errors: a false alarm costs a few per cent of delay, a missed change ten times that


class Finished(NamedTuple):
    """A render that was found finished `ago` seconds ago, at age `high`. It was still running at age `low`."""

    ago: float
    low: float
    high: float


class RunningRender(NamedTuple):
    """A number of renders in flight of the same age."""

    age: float
    renders: int = 1


@dataclass(frozen=True, slots=True)
class Learned:
    """A constant hazard in each bucket of age, and the prior's hazard beyond the last bucket with data."""

    prior: RenderTime
    hazards: tuple[float, ...]
    passed: tuple[float, ...]  # integral of the hazard up to each edge
    _hash: int = field(init=False, repr=False, compare=False)  # needed for every check, so computed once

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.prior, self.hazards, self.passed)))

    def __hash__(self) -> int:
        return self._hash

    def hazard(self, age_seconds: float) -> float:
        if age_seconds < 0:
            return 0.0
        bucket = _find_bucket(age_seconds)
        return self.hazards[bucket] if bucket < len(self.hazards) else self.prior.hazard(age_seconds)

    def survival(self, age_seconds: float) -> float:
        if age_seconds <= 0:
            return 1.0
        bucket = _find_bucket(age_seconds)
        if bucket < len(self.hazards):
            return math.exp(-self.passed[bucket] - self.hazards[bucket] * max(0.0, age_seconds - _EDGES[bucket]))
        before = self.prior.survival(_EDGES[len(self.hazards)])
        return math.exp(-self.passed[-1]) * self.prior.survival(age_seconds) / before if before > 0 else 0.0


@dataclass(slots=True)
class _Histogram:
    """Finished renders and seconds at risk, by bucket of age."""

    finished: list[float] = field(default_factory=lambda: [0.0] * _BUCKETS)
    at_risk: list[float] = field(default_factory=lambda: [0.0] * _BUCKETS)
    entering: list[float] = field(default_factory=lambda: [0.0] * _BUCKETS)  # at risk for whole buckets from here ...
    leaving: list[float] = field(default_factory=lambda: [0.0] * _BUCKETS)  # ... to here

    def add_running(self, entered: float, age: float, count: float = 1.0) -> None:
        """Add renders that did not finish between these ages."""
        if age <= entered:
            return
        first, last = _find_bucket(entered), _find_bucket(age)
        if first == last:
            self.at_risk[first] += count * (age - entered)
            return
        self.at_risk[first] += count * (_EDGES[first + 1] - entered)
        self.at_risk[last] += count * (age - _EDGES[last])
        self.entering[first + 1] += count
        self.leaving[last] += count

    def add_finished(self, low: float, high: float, guess: RenderTime) -> None:
        """Add a render that finished between two ages, distributed between them by `guess`."""
        edges = [low, *_EDGES[_find_bucket(low) + 1 : _find_bucket(high) + 1], high]
        survivals = [guess.survival(edge) for edge in edges]
        mass, left = survivals[0] - survivals[-1], 1.0
        spans = zip(pairwise(edges), pairwise(survivals), strict=True)
        for bucket, ((begin, end), (before, after)) in enumerate(spans, start=_find_bucket(low)):
            share = (before - after) / mass if mass > _NEVER else (end - begin) / (high - low)
            self.finished[bucket] += share
            self.at_risk[bucket] += (left - share / 2) * (end - begin)
            left -= share

    def sum_at_risk(self) -> list[float]:
        """Return the seconds at risk, including whole buckets."""
        staying = accumulate(map(float.__sub__, self.entering, self.leaving))
        widths = (end - begin for begin, end in pairwise(_EDGES))
        return [part + whole * width for part, whole, width in zip(self.at_risk, staying, widths, strict=True)]


def learn_render_time(
    prior: RenderTime, finished: Sequence[Finished], running: Iterable[RunningRender] = ()
) -> RenderTime:
    """Estimate the render time from finished renders, newest first, and renders in flight. With none, it is the prior.

    Only the newest renders count, back to the last visible change. Hazards are finite and above zero wherever the
    prior's are.
    """
    recent = finished[: choose_window(finished)]
    span = finished[len(recent)].ago if len(recent) < len(finished) else math.inf
    known = _Histogram()
    for each in running:
        known.add_running(max(0.0, each.age - span), each.age, each.renders)
    intervals = []
    for render in recent:
        entered = max(0.0, render.ago + render.high - span)
        low, high = _widen(entered, render)
        known.add_running(entered, low)
        intervals.append((low, high))
    at_risk, learned = known.sum_at_risk(), prior
    for _ in range(_ROUNDS if recent else 1):
        histogram = _Histogram(at_risk=at_risk.copy())
        for low, high in intervals:
            histogram.add_finished(low, high, learned)
        learned = _shrink(prior, histogram)
    return learned


def _widen(entered: float, seen: Finished) -> tuple[float, float]:
    """Return the ages between which the render finished inside the window. They are never equal."""
    high = max(seen.high, entered, _YOUNGEST / 10)
    low = min(max(seen.low, entered), high * (1 - _NARROWEST))
    return (low if low > _NEVER else 0.0), high


def choose_window(finished: Sequence[Finished]) -> int:
    """Return how many of the newest renders took similar times. The window grows until the next block differs from it.

    Uses Welch's test on the logarithms of the durations, over at most `WINDOW` renders.
    """
    logs = [math.log(max((each.low + each.high) / 2, _NARROWEST)) for each in finished[:WINDOW]]
    size = min(_FIRST_BLOCK, len(logs))
    while size < len(logs):
        larger = min(math.ceil(size * _GROWTH), len(logs))
        if larger - size >= _FIRST_BLOCK // 2 and _differ(logs[:size], logs[size:larger]):
            return size
        size = larger
    return size


def _differ(newer: Sequence[float], older: Sequence[float]) -> bool:
    error = math.sqrt(variance(newer) / len(newer) + variance(older) / len(older))
    return abs(fmean(newer) - fmean(older)) > _CHANGED * error + _NARROWEST


def _shrink(prior: RenderTime, histogram: _Histogram) -> RenderTime:
    known = max((bucket for bucket in range(_BUCKETS) if histogram.at_risk[bucket] > 0), default=-1) + 1
    if not known:
        return prior
    finished, at_risk = _smooth(histogram.finished[:known]), _smooth(histogram.at_risk[:known])
    survivals = [prior.survival(edge) for edge in _EDGES[: known + 1]]
    hazards = []
    for bucket, (before, after) in enumerate(pairwise(survivals)):
        width = _EDGES[bucket + 1] - _EDGES[bucket]
        exposure = _PSEUDO_RENDERS * width * (before + after) / 2 + at_risk[bucket]
        events = _PSEUDO_RENDERS * (before - after) + finished[bucket]
        middle = (_EDGES[bucket] + _EDGES[bucket + 1]) / 2
        hazards.append(events / exposure if exposure > 1e-9 * width else prior.hazard(middle))
    masses = (hazard * (end - begin) for hazard, (begin, end) in zip(hazards, pairwise(_EDGES), strict=False))
    return Learned(prior, tuple(hazards), tuple(accumulate(masses, initial=0.0)))


def _smooth(values: Sequence[float]) -> list[float]:
    half = len(_KERNEL) // 2
    padded = [0.0] * half + list(values) + [0.0] * half
    return [sum(map(float.__mul__, _KERNEL, padded[at : at + len(_KERNEL)])) for at in range(len(values))]


def _find_bucket(age: float) -> int:
    if age < _YOUNGEST:
        return 0
    return min(_BUCKETS - 1, 1 + int(math.log(age / _YOUNGEST) / _STEP))
