"""What finished renders teach about the time a render takes: a hazard per 5 % of age, shrunk to a prior. Pure.

Observations are interval-censored (a render finished somewhere between the last check that saw it running and the check
that found it), right-censored (renders in flight) and enter late (only what happened inside the window counts). Each
adds to two histograms over age: renders that finished, and seconds that renders were at risk. Their ratio is the
hazard, the estimate of Nelson and Aalen; one pseudo-render of the prior is added to both, which is the posterior mean
of a Poisson rate with a Gamma prior. Where in its interval a render finished is told by the estimate itself, repeated
a few times (the self-consistency of Turnbull, stopped early: carried to the end it makes spikes of noise).

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
"""Finished renders that are learned from: the error of the hazard falls with its root, the memory of drift grows."""

_STEP = 0.05  # narrower than any shape that checks a few seconds apart can tell; the kernel spans five
_YOUNGEST, _OLDEST = 0.1, 1e6
_STEPS = math.ceil(math.log(_OLDEST / _YOUNGEST) / _STEP)
_EDGES = (0.0, *(_YOUNGEST * math.exp(_STEP * step) for step in range(_STEPS + 1)))
_BUCKETS = len(_EDGES) - 1
_KERNEL = (1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9)
_PSEUDO_RENDERS = 1.0
_ROUNDS = 4
_NEVER = 1e-12
_NARROWEST = 1e-6  # of an age: an interval with no width has one
_FIRST_BLOCK, _GROWTH = 20, 1.5
_CHANGED = 2.5  # standard errors: a false alarm costs a few per cent of delay, a missed change ten times that


class Finished(NamedTuple):
    """A render that was found finished `ago` seconds ago, at the age `high`; it ran still at the age `low`."""

    ago: float
    low: float
    high: float


class RunningRender(NamedTuple):
    """So many renders in flight of this age."""

    age: float
    renders: int = 1


@dataclass(frozen=True, slots=True)
class Learned:
    """A constant hazard in each bucket of age; beyond the last bucket that anything is known of, the prior's."""

    prior: RenderTime
    hazards: tuple[float, ...]
    passed: tuple[float, ...]  # integral of the hazard up to each edge
    _hash: int = field(init=False, repr=False, compare=False)  # taken for every check of every render, so taken once

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
    entering: list[float] = field(default_factory=lambda: [0.0] * _BUCKETS)  # that stay for the whole bucket, ...
    leaving: list[float] = field(default_factory=lambda: [0.0] * _BUCKETS)  # ... and for no more of them

    def add_running(self, entered: float, age: float, count: float = 1.0) -> None:
        """Renders that did not finish between these ages."""
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
        """A render that finished between two ages, where `guess` holds it for likely."""
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
        """Seconds at risk, those of whole buckets included."""
        staying = accumulate(map(float.__sub__, self.entering, self.leaving))
        widths = (end - begin for begin, end in pairwise(_EDGES))
        return [part + whole * width for part, whole, width in zip(self.at_risk, staying, widths, strict=True)]


def learn_render_time(
    prior: RenderTime, finished: Sequence[Finished], running: Iterable[RunningRender] = ()
) -> RenderTime:
    """The render time that these renders, newest first, and those in flight speak for; the prior itself for none.

    Only the newest count, back to the last change that shows. Hazards are finite and above zero wherever the prior's
    are.
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
    """The ages between which it finished inside the window, never the same."""
    high = max(seen.high, entered, _YOUNGEST / 10)
    low = min(max(seen.low, entered), high * (1 - _NARROWEST))
    return (low if low > _NEVER else 0.0), high


def choose_window(finished: Sequence[Finished]) -> int:
    """How many of the newest renders took alike: the window grows until the next block differs from it.

    Welch's test on the logarithms of the durations, at most `WINDOW` renders.
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
