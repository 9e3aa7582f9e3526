"""Keller's law: its properties, and its price compared with that of the best schedule."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench.watching import next_check_age
from rushes.render_times.poll_spacing import (
    LogNormal,
    RenderTime,
    count_checks,
    discount_missing_webhook,
    expected_seconds_left,
    measure_growth,
    prior_for,
    resumed_spacing,
    worth_of_check,
)

USUAL = LogNormal(median_seconds=60, sigma=0.3)
USUAL_MEAN = 60 * math.exp(0.3**2 / 2)

log_normals = st.builds(LogNormal, median_seconds=st.floats(0.5, 5_000), sigma=st.floats(0.05, 3))
ages = st.floats(0, 1e6)
costs = st.floats(1e-3, 1e3)


@dataclass(frozen=True)
class Exponential:
    """A render that is as likely to finish now as at any other time."""

    mean_seconds: float

    def hazard(self, age_seconds: float) -> float:
        return 1 / self.mean_seconds

    def survival(self, age_seconds: float) -> float:
        return math.exp(-age_seconds / self.mean_seconds)


def checks(render_time: RenderTime, *, cost: float) -> Iterator[float]:
    """The ages of all checks that a render gets while it is at all likely to be unfinished."""
    age = 0.0
    while render_time.survival(age) > 1e-9:
        age = next_check_age(render_time, age=age, request_cost_seconds=cost, shortest=1e-3, longest=1e9)
        yield age


def requests_and_delay(ages_of_checks: Iterator[float]) -> tuple[float, float]:
    """Expected number of checks a render of the usual kind, and expected seconds from its end to the next check."""
    requests = end_noticed = last = 0.0
    for age in ages_of_checks:
        requests += USUAL.survival(last)
        end_noticed += age * (USUAL.survival(last) - USUAL.survival(age))
        last = age
    return requests, end_noticed - USUAL_MEAN


def best_possible_price(*, cost: float, step: float, end: float = 300.0) -> float:
    """Seconds of delay plus priced requests under the best schedule on a grid, by dynamic programming from the end."""
    grid = [number * step for number in range(int(end / step) + 1)]
    survivals = [USUAL.survival(age) for age in grid]
    finished_age = [USUAL_MEAN * (1 - USUAL.survival(age * math.exp(-(0.3**2)))) for age in grid]  # integral of t f(t)
    onward = [0.0] * len(grid)
    for now in range(len(grid) - 2, -1, -1):
        best = math.inf
        for check in range(now + 1, len(grid)):
            finished = survivals[now] - survivals[check]
            price = grid[check] * finished - (finished_age[check] - finished_age[now]) + onward[check]
            best = min(best, price)
            if price > 1.5 * best + 1e-6:
                break
        onward[now] = cost * survivals[now] + best
    return onward[0]


@pytest.mark.parametrize(
    ("cost", "requests", "delay"), [(0.0052, 56, 0.284), (0.02116, 28, 0.566), (0.111, 12.5, 1.27), (1.17, 4.2, 3.95)]
)
def test_requests_buy_short_delays_at_a_known_rate(cost: float, requests: float, delay: float) -> None:
    assert requests_and_delay(checks(USUAL, cost=cost)) == pytest.approx((requests, delay), rel=0.01)


@pytest.mark.parametrize(("cost", "step", "excess"), [(0.02116, 0.1, 0.01), (0.111, 0.2, 0.01), (1.17, 0.25, 0.016)])
def test_the_law_costs_little_more_than_the_best_schedule(cost: float, step: float, excess: float) -> None:
    """Keller's continuous law is known to come within 0.6 to 1.6 % of the exact optimum."""
    requests, delay = requests_and_delay(checks(USUAL, cost=cost))

    assert cost * requests + delay < (1 + excess) * best_possible_price(cost=cost, step=step)


@settings(deadline=None)  # a new distribution costs a table
@given(render_time=log_normals, age=ages, cost=costs, shortest=st.floats(0.01, 10), longest=st.floats(0.01, 100))
def test_a_check_falls_between_the_shortest_and_the_longest_wait(
    render_time: LogNormal, age: float, cost: float, shortest: float, longest: float
) -> None:
    following = next_check_age(render_time, age=age, request_cost_seconds=cost, shortest=shortest, longest=longest)

    assert following >= age + shortest > age
    assert following <= max(age + longest, age + shortest)


@settings(deadline=None)
@given(mean=st.floats(1, 1_000), age=st.floats(0, 10_000), cost=st.floats(0.01, 10))
def test_where_the_hazard_is_flat_checks_are_evenly_spaced(mean: float, age: float, cost: float) -> None:
    spacing = math.sqrt(2 * cost * mean)
    following = next_check_age(Exponential(mean), age=age, request_cost_seconds=cost, shortest=1e-6, longest=1e9)

    assert following - age == pytest.approx(spacing, rel=1e-6)
    grown = count_checks(Exponential(mean), age + spacing) - count_checks(Exponential(mean), age)
    assert worth_of_check(grown) == pytest.approx(cost, rel=1e-5)


@settings(deadline=None)
@given(render_time=log_normals, age=ages, cost=costs, factor=st.floats(1.01, 100))
def test_dearer_requests_are_made_later(render_time: LogNormal, age: float, cost: float, factor: float) -> None:
    cheap, dear = (
        next_check_age(render_time, age=age, request_cost_seconds=each, shortest=1e-6, longest=1e6)
        for each in (cost, cost * factor)
    )

    assert cheap <= dear


@settings(deadline=None)
@given(render_time=log_normals, age=ages, later=ages, cost=costs)
def test_a_later_check_is_followed_by_a_later_one(
    render_time: LogNormal, age: float, later: float, cost: float
) -> None:
    assume(age < later)
    first, second = (
        next_check_age(render_time, age=each, request_cost_seconds=cost, shortest=0.1, longest=1e6)
        for each in (age, later)
    )

    assert first <= second * (1 + 1e-12)


def test_the_likely_time_is_watched_more_closely_than_the_unlikely() -> None:
    spacings = {}
    for age in (0.0, 20.0, 60.0, 600.0):
        following = next_check_age(USUAL, age=age, request_cost_seconds=0.1, shortest=0.01, longest=1e6)
        spacings[age] = following - age

    assert spacings[0] > 20
    assert spacings[20] > 2 * spacings[60]
    assert spacings[600] > spacings[60]


@pytest.mark.parametrize("median", [1e-6, 1e-3, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("sigma", [1e-6, 0.01, 1.0, 50.0])
@pytest.mark.parametrize("age", [0.0, 1e-300, 1e-3, 1.0, 1e7, 1e15])
def test_extreme_values_give_finite_answers(median: float, sigma: float, age: float) -> None:
    render_time = LogNormal(median_seconds=median, sigma=sigma)

    assert 0 <= render_time.hazard(age) < math.inf
    assert 0 <= render_time.survival(age) <= 1
    assert 0 <= expected_seconds_left(render_time, age) < math.inf
    for cost in (1e-12, 1e12):
        following = next_check_age(render_time, age=age, request_cost_seconds=cost, shortest=1, longest=60)
        assert age + 1 <= following <= age + 60


@settings(deadline=None)
@given(render_time=log_normals, age=st.floats(0.01, 1e5))
def test_hazard_is_the_relative_fall_of_survival(render_time: LogNormal, age: float) -> None:
    width = age * render_time.sigma * 1e-4
    before, after = render_time.survival(age - width), render_time.survival(age + width)
    assume(after > 1e-200 and before < 1 - 1e-6)

    slope = math.log(before / after) / (2 * width)
    assert render_time.hazard(age) == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("z", [4.999, 5.0, 5.001, 30.0, 1e6])
def test_the_far_tail_is_smooth_and_follows_its_asymptote(z: float) -> None:
    standard = LogNormal(median_seconds=1, sigma=1e-3)
    age = math.exp(z * 1e-3) if z < 1e5 else math.exp(700)
    z = math.log(age) / 1e-3

    assert standard.hazard(age) * 1e-3 * age == pytest.approx(z + 1 / z - 2 / z**3 + 10 / z**5, rel=1e-3)


@pytest.mark.parametrize(("median", "sigma"), [(0, 1), (-1, 1), (1, 0), (1, -1), (math.nan, 1), (1, math.nan)])
def test_a_distribution_that_is_none_is_refused(median: float, sigma: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        LogNormal(median_seconds=median, sigma=sigma)


@settings(deadline=None)
@given(mean=st.floats(1, 1_000), age=st.floats(0, 10_000))
def test_where_the_hazard_is_flat_the_time_left_never_changes(mean: float, age: float) -> None:
    assert expected_seconds_left(Exponential(mean), age) == pytest.approx(mean, rel=1e-6)


@settings(deadline=None)
@given(median=st.floats(1, 1_000), sigma=st.floats(0.1, 1.2), age=st.floats(0.1, 5_000))
def test_the_time_left_agrees_with_the_closed_form(median: float, sigma: float, age: float) -> None:
    render_time = LogNormal(median_seconds=median, sigma=sigma)
    assume(render_time.survival(age) > 1e-9)
    mean = median * math.exp(sigma**2 / 2)
    beyond = LogNormal(median_seconds=median * math.exp(sigma**2), sigma=sigma)

    left = mean * beyond.survival(age) / render_time.survival(age) - age
    assert expected_seconds_left(render_time, age) == pytest.approx(left, rel=0.005, abs=1e-3 * age)


@pytest.mark.parametrize(("delivered", "left"), [(0.0, 1), (0.96, 0.04), (1.0, 0.0001), (2.0, 0.0001)])
def test_a_webhook_thins_the_worth_of_a_young_render_by_what_it_misses(delivered: float, left: float) -> None:
    assert discount_missing_webhook(USUAL, age=20.0, known_age=0.0, delivered=delivered) == pytest.approx(
        left, rel=0.05
    )


def test_a_long_wait_brings_the_worth_back() -> None:
    worths = [
        discount_missing_webhook(USUAL, age=age, known_age=0.0, delivered=0.96) for age in (20.0, 60.0, 120.0, 180.0)
    ]
    assert worths[0] == pytest.approx(0.04, rel=0.05)
    assert worths[2] > 3 * worths[0]
    running = USUAL.survival(120.0)
    finished = 0.04 * (1 - running) / (0.04 * (1 - running) + running)
    assert worths[2] == pytest.approx(finished / -math.log(running))


@given(render_time=log_normals, age=ages, known_age=ages, delivered=st.floats(0, 1))
def test_a_missing_webhook_never_adds_to_the_worth(
    render_time: LogNormal, age: float, known_age: float, delivered: float
) -> None:
    assert 0 < discount_missing_webhook(render_time, age=age, known_age=known_age, delivered=delivered) <= 1


def test_the_prior_is_wide_and_grows_mildly_with_the_length() -> None:
    short, long = (prior_for("lightricks/ltx-2-pro/text-to-video", seconds) for seconds in (6, 10))

    assert short.survival(100) == pytest.approx(0.5)
    assert short.survival(300) > 0.05
    assert 0.5 < long.survival(100) < 0.75
    assert prior_for("lightricks/ltx-2-fast/text-to-video", 6).survival(100) < 0.5
    assert prior_for("lightricks/ltx-2-pro/text-to-video", 6, median_seconds=30).survival(30) == pytest.approx(0.5)
    assert 0 < prior_for("unknown", 0).survival(60) < 1


@pytest.mark.parametrize(
    ("window", "seconds"), [(0, 30), (1, 30), (2, 60), (3, 120), (5, 480), (6, 900), (7, 900), (10**6, 900)]
)
def test_a_resumed_render_is_checked_ever_more_slowly(window: int, seconds: int) -> None:
    assert resumed_spacing(window) == timedelta(seconds=seconds)


@given(st.floats(1, 500), st.floats(0, 300), st.floats(0, 300), st.floats(0.01, 10))
def test_growth_is_the_difference_of_two_counts(median: float, known_age: float, more: float, step: float) -> None:
    render_time, age = LogNormal(median, 0.5), known_age + more
    grown, slope = measure_growth(render_time, known_age=known_age, age=age, step=step)
    assert grown == pytest.approx(count_checks(render_time, age) - count_checks(render_time, known_age), abs=1e-9)
    expected = count_checks(render_time, age + step) - count_checks(render_time, age)
    assert slope * step == pytest.approx(expected, abs=1e-9)
