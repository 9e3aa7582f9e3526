"""The optimum that measurements are held against: known values, and no schedule beats it."""

import itertools

import pytest

from bench.curves import LogNormal, draw_curves, find_fixed, find_optimum, find_sweep
from bench.results import Result

TIMES = LogNormal(60, 0.3)


def make_result(*, slots: int) -> Result:
    return Result(
        load="l",
        about="",
        overflow="queue",
        contestant="c",
        slots=slots,
        median=10,
        sigma=0.5,
        runs=(),
        circumstances={},
    )


@pytest.mark.parametrize("price", [0.005, 0.02])
def test_where_looks_are_many_the_optimum_is_what_theory_says(price: float) -> None:
    # Keller 1974: requests times delay is half the square of the integral of sqrt(density * survival), here 16.0
    best = find_optimum(TIMES, price)
    assert best.requests * best.delay == pytest.approx(16.0, rel=0.03)
    assert best.delay == pytest.approx(price * best.requests, rel=0.05)


def test_where_looks_are_few_the_optimum_is_the_known_one() -> None:
    best = find_optimum(TIMES, 0.9)
    assert best.requests == pytest.approx(4.3, rel=0.05)
    assert best.delay == pytest.approx(3.7, rel=0.05)


@pytest.mark.parametrize("interval", [1.0, 5.0, 20.0])
def test_a_fixed_interval_costs_half_of_it_and_never_beats_the_optimum(interval: float) -> None:
    fixed = find_fixed(TIMES, interval)
    assert fixed.delay == pytest.approx(interval / 2, rel=0.05)
    assert fixed.requests == pytest.approx(60 * 1.046 / interval + 0.5, rel=0.03)
    for price in (0.01, 0.1, 1.0):
        best = find_optimum(TIMES, price)
        assert best.delay + price * best.requests <= fixed.delay + price * fixed.requests


def test_a_dearer_look_means_fewer_looks_and_more_delay() -> None:
    optimum, fixed, pages = draw_curves(make_result(slots=150))
    assert all(more > fewer for more, fewer in itertools.pairwise(optimum.requests))
    assert all(less < more for less, more in itertools.pairwise(optimum.delays))
    assert max(optimum.requests) > 20
    assert 1 <= min(optimum.requests) < 2
    assert len(fixed.requests) == len(fixed.delays)
    assert all(page < single for page, single in zip(pages.requests, fixed.requests, strict=True))


def test_a_sweep_asks_once_per_page_for_all_renders_under_way() -> None:
    # 150 renders of 10 * exp(0.125) seconds on 150 slots: 13.2 end in a second, and two pages show all of them
    sweep = find_sweep(make_result(slots=150), 0.5)
    assert sweep.delay == 0.25
    assert sweep.requests == pytest.approx(2 / (0.5 * 150 / (10 * 1.13315)), rel=1e-3)
