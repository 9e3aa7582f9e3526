"""The best schedule of single polls: what it costs, and where it checks."""

import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.optimum import find_optimum
from bench.watching import Mixture, follow_law, price_schedule
from rushes.render_times.check_plans import next_check_age
from rushes.render_times.poll_spacing import LogNormal, RenderTime

TWO_SORTS = Mixture((0.6, 0.4), (LogNormal(30, 0.15), LogNormal(90, 0.15)))


def ages_of_checks(render_time: RenderTime, *, cost: float) -> Iterator[float]:
    age = 0.0
    while render_time.survival(age) > 1e-4:
        age = next_check_age(render_time, age=age, request_cost_seconds=cost, shortest=0.0, longest=1e9)
        yield age


@pytest.mark.parametrize("cost", [0.02, 0.5, 5.0])
@pytest.mark.parametrize("truth", [LogNormal(60, 0.3), LogNormal(60, 0.8), TWO_SORTS])
def test_given_the_truth_no_schedule_is_better(truth: RenderTime, cost: float) -> None:
    best, planned = find_optimum(truth, price=cost, steps=4_000), price_schedule(truth, truth, price=cost)

    assert planned.requests * cost + planned.delay_seconds < 1.003 * (best.requests * cost + best.delay_seconds)


def test_with_two_sorts_of_renders_the_gap_between_them_is_not_checked() -> None:
    ages = list(ages_of_checks(TWO_SORTS, cost=0.5))
    law = price_schedule(TWO_SORTS, TWO_SORTS, price=0.5, follow=follow_law)
    planned = price_schedule(TWO_SORTS, TWO_SORTS, price=0.5)

    assert not [age for age in ages if 50 < age < 65]
    assert planned.requests * 0.5 + planned.delay_seconds < 0.98 * (law.requests * 0.5 + law.delay_seconds)


@pytest.mark.parametrize("cost", [0.1, 1.0, 10.0])
def test_the_tail_of_long_renders_is_left_to_the_law_without_a_break(cost: float) -> None:
    ages = list(ages_of_checks(LogNormal(60, 0.5), cost=cost))
    spacings = [later - earlier for earlier, later in pairwise(ages)]

    assert all(late < 1.6 * early for early, late in pairwise(spacings[1:]))
    assert all(late > early / 1.6 for early, late in pairwise(spacings[1:]))


@settings(deadline=None, max_examples=30)  # a new distribution costs a plan
@given(
    render_time=st.builds(LogNormal, median_seconds=st.floats(0.5, 5_000), sigma=st.floats(0.05, 3)),
    age=st.floats(0, 1e6),
    cost=st.floats(1e-2, 1e2),
    shortest=st.floats(0.01, 10),
    longest=st.floats(0.01, 100),
)
def test_a_check_falls_between_the_shortest_and_the_longest_wait(
    render_time: LogNormal, age: float, cost: float, shortest: float, longest: float
) -> None:
    following = next_check_age(render_time, age=age, request_cost_seconds=cost, shortest=shortest, longest=longest)

    assert age + shortest <= following <= max(age + longest, age + shortest)


@pytest.mark.parametrize("median", [1e-6, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("sigma", [1e-6, 1.0, 50.0])
def test_extreme_values_give_finite_answers(median: float, sigma: float) -> None:
    for age in (0.0, 1e-300, 1.0, 1e7, 1e15):
        for cost in (1e-12, 1e12):
            following = next_check_age(
                LogNormal(median, sigma), age=age, request_cost_seconds=cost, shortest=1, longest=60
            )
            assert age + 1 <= following <= age + 60
            assert math.isfinite(following)
