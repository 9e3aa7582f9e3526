"""The cost of single polls: requests per render against delay, compared with the optimal schedule. Needs no servers.

A farm with a number of slots is simulated. It polls each render by the square-root law, as the dispatcher does, but
without a shortest spacing. It learns only from the results of its polls, never from the true durations. After 200
finished renders the belief is frozen, and the cost of its schedule is calculated exactly on the true distribution of
that moment.
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple, Protocol

from bench.optimum import Point, find_optimum, mean_seconds
from rushes.render_times.estimator import Finished, RunningRender, learn_render_time
from rushes.render_times.poll_spacing import LogNormal, RenderTime, count_checks, prior_for
from rushes.settings import POLL_COST_SECONDS

LEARNED_FROM = 200
SLOTS = 20
PRICES = (0.02, POLL_COST_SECONDS, 0.5)
"""Seconds of delay that one request is worth; the second price is the default of RUSHES_POLL_COST_SECONDS."""
CURVE_PRICES = tuple(0.01 * 2**step for step in range(8))
SEEDS = 5
PRIOR = prior_for("lightricks/ltx-2-pro/text-to-video", 6)
_SHORTEST, _LONGEST = 1e-3, 60.0
_HALVINGS = 60
_UNLIKELY = 1e-7
_RENDERS_PER_BELIEF = 10
_TRIES, _SAME = 15, 1e-3


class Truth(RenderTime, Protocol):
    """A distribution to draw from."""

    def draw(self, rng: random.Random) -> float: ...


@dataclass(frozen=True)
class Mixture:
    """A mixture of render times, each with its share."""

    shares: tuple[float, ...]
    parts: tuple[LogNormal, ...]

    def hazard(self, age_seconds: float) -> float:
        alive = self.survival(age_seconds)
        if alive <= 0:
            return 0.0
        both = zip(self.shares, self.parts, strict=True)
        return sum(share * part.survival(age_seconds) * part.hazard(age_seconds) for share, part in both) / alive

    def survival(self, age_seconds: float) -> float:
        return sum(share * part.survival(age_seconds) for share, part in zip(self.shares, self.parts, strict=True))

    def draw(self, rng: random.Random) -> float:
        part = rng.choices(self.parts, self.shares)[0]
        return part.median_seconds * math.exp(part.sigma * rng.gauss(0, 1))


class WatchScenario(NamedTuple):
    """The distribution of durations for each render, by its number."""

    name: str
    truth_of: Callable[[int], Truth]

    @property
    def final(self) -> Truth:
        return self.truth_of(LEARNED_FROM)


def next_check_age(
    believed: RenderTime,
    *,
    age: float,
    request_cost_seconds: float,
    shortest: float = _SHORTEST,
    longest: float = _LONGEST,
) -> float:
    """Return the age of the next check by the square-root law, after a check at age `age` (or the start, with 0).

    The result lies between `age + shortest` and `age + longest`; if they conflict, the first wins.
    `request_cost_seconds` is how many seconds of delay one request is worth.
    """
    due = count_checks(believed, age) + math.sqrt(2 * request_cost_seconds)
    low, high = age, age + longest
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if count_checks(believed, middle) >= due else (middle, high)
    return max(age + shortest, high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Schedules compared at the number of requests of the best one for a price; delays in seconds."""

    scenario: str
    price: float
    requests: float
    optimum: float
    fixed: float  # a fixed spacing
    informed: float  # ours with the true distribution: the excess over the optimum is due to the law
    prior: float
    learned: float  # ours: the excess over `informed` is due to learning errors
    learned_worst: float  # the worst of all seeds


def _one(median: float, sigma: float) -> Mixture:
    return Mixture((1.0,), (LogNormal(median, sigma),))


SCENARIOS = (
    WatchScenario("log-normal, 60 s, sigma 0.3", lambda number: _one(60, 0.3)),
    WatchScenario("log-normal, 60 s, sigma 0.5", lambda number: _one(60, 0.5)),
    WatchScenario("log-normal, 60 s, sigma 0.8", lambda number: _one(60, 0.8)),
    WatchScenario(
        "bimodal, 30 s and 90 s", lambda number: Mixture((0.6, 0.4), (LogNormal(30, 0.15), LogNormal(90, 0.15)))
    ),
    WatchScenario("drifting, 60 s to 90 s", lambda number: _one(60 * 1.5 ** min(1, number / LEARNED_FROM), 0.3)),
    WatchScenario("changed, 60 s, then 90 s", lambda number: _one(60 if number < LEARNED_FROM / 2 else 90, 0.3)),
)


class _Watch(NamedTuple):
    started_at: float
    duration: float
    seen_running: float  # age


class _Farm:
    """Slots that are never empty. Each check is planned with the belief held at that time."""

    def __init__(self, scenario: WatchScenario, *, price: float, seed: int, slots: int) -> None:
        self.belief: RenderTime = PRIOR
        self.found: list[tuple[float, float, float]] = []  # time, and the ages between which the render finished
        self._scenario, self._price = scenario, price
        self._rng = random.Random(seed)  # noqa: S311 - a simulation
        self._watches: dict[int, _Watch] = {}
        self._checks: list[tuple[float, int]] = []
        self._started = 0
        for slot in range(slots):
            self._start(now=slot * 1.3)

    def run(self) -> RenderTime:
        """Render until enough finished renders were found; returns the belief at that time."""
        while len(self.found) < LEARNED_FROM:
            now, number = heapq.heappop(self._checks)
            watch = self._watches[number]
            age = now - watch.started_at
            if age < watch.duration:
                self._watches[number] = watch._replace(seen_running=age)
                self._plan(number, age)
                continue
            del self._watches[number]
            self.found.append((now, watch.seen_running, age))
            if len(self.found) % _RENDERS_PER_BELIEF == 0:
                self._believe(now)
            self._start(now)
        return self.belief

    def _start(self, now: float) -> None:
        self._watches[self._started] = _Watch(now, self._scenario.truth_of(self._started).draw(self._rng), 0.0)
        self._plan(self._started, 0.0)
        self._started += 1

    def _plan(self, number: int, age: float) -> None:
        following = next_check_age(self.belief, age=age, request_cost_seconds=self._price)
        heapq.heappush(self._checks, (self._watches[number].started_at + following, number))

    def _believe(self, now: float) -> None:
        finished = [Finished(now - at, low, high) for at, low, high in reversed(self.found)]
        running = [RunningRender(now - watch.started_at) for watch in self._watches.values() if watch.started_at < now]
        self.belief = learn_render_time(PRIOR, finished, running)


def learn(scenario: WatchScenario, *, price: float, seed: int, slots: int = SLOTS) -> RenderTime:
    """The belief after `LEARNED_FROM` finished renders that were watched at this price."""
    return _Farm(scenario, price=price, seed=seed, slots=slots).run()


def price_schedule(believed: RenderTime, truth: RenderTime, *, price: float) -> Point:
    """Exact requests and delay per render of a schedule made for a belief, on the true distribution."""
    requests = found = age = 0.0
    alive = 1.0
    while alive > _UNLIKELY:
        following = next_check_age(believed, age=age, request_cost_seconds=price)
        still = truth.survival(following)
        requests += alive
        found += following * (alive - still)
        age, alive = following, still
    return Point(requests, found - mean_seconds(truth))


def find_delay_at(believed: RenderTime, truth: RenderTime, *, requests: float) -> float:
    """Delay of a schedule made for a belief, at the price for which it makes `requests` requests."""
    price = PRICES[0]
    for _ in range(_TRIES):
        point = price_schedule(believed, truth, price=price)
        if abs(point.requests / requests - 1) < _SAME:
            break
        price *= (point.requests / requests) ** 2  # requests are about proportional to 1 / sqrt(price)
    return point.delay_seconds * point.requests / requests  # and delay is about proportional to 1 / requests


def price_fixed(truth: RenderTime, *, spacing: float) -> Point:
    """Requests and delay of checks every `spacing` seconds."""
    survivals = (truth.survival(spacing * number) for number in itertools.count())
    requests = sum(itertools.takewhile(lambda alive: alive > _UNLIKELY, survivals))
    return Point(requests, requests * spacing - mean_seconds(truth))


def compare(scenario: WatchScenario, *, price: float, seeds: int = SEEDS) -> Comparison:
    """All schedules at the number of requests that the best one makes at this price."""
    truth = scenario.final
    best = find_optimum(truth, price=price)

    def delay_of(believed: RenderTime) -> float:
        return find_delay_at(believed, truth, requests=best.requests)

    learned = [delay_of(learn(scenario, price=price, seed=seed)) for seed in range(seeds)]
    return Comparison(
        scenario=scenario.name,
        price=price,
        requests=best.requests,
        optimum=best.delay_seconds,
        fixed=price_fixed(truth, spacing=mean_seconds(truth) / (best.requests - 0.5)).delay_seconds,
        informed=delay_of(truth),
        prior=delay_of(PRIOR),
        learned=median(learned),
        learned_worst=max(learned),
    )


def trace_curves(scenario: WatchScenario, *, prices: Sequence[float], seed: int = 0) -> dict[str, list[Point]]:
    """Delay against requests, with a point for each price, for a plot that shows the optimum as a line."""
    truth = scenario.final
    beliefs = [learn(scenario, price=price, seed=seed) for price in prices]
    best = [find_optimum(truth, price=price) for price in prices]
    return {
        "optimum": best,
        "learned from 200 renders": [
            price_schedule(belief, truth, price=price) for belief, price in zip(beliefs, prices, strict=True)
        ],
        "prior only": [price_schedule(PRIOR, truth, price=price) for price in prices],
        "fixed spacing": [price_fixed(truth, spacing=mean_seconds(truth) / (point.requests - 0.5)) for point in best],
    }
