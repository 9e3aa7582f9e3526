"""The benchmark of single polls: its optimum is one, and what is learned comes near it."""

import math
from dataclasses import dataclass

import pytest

from bench.optimum import Point, find_optimum, mean_seconds
from bench.watching import (
    PRIOR,
    SCENARIOS,
    WatchScenario,
    compare,
    price_fixed,
    price_schedule,
    trace_curves,
)
from rushes.render_times.poll_spacing import LogNormal

PRICE = 0.1


@dataclass(frozen=True)
class Flat:
    """A render that is as likely to finish now as at any other time."""

    mean: float

    def hazard(self, age_seconds: float) -> float:
        return 1 / self.mean

    def survival(self, age_seconds: float) -> float:
        return math.exp(-age_seconds / self.mean)


def cost_of(point: Point, price: float) -> float:
    return point.requests * price + point.delay_seconds


def test_the_best_schedule_for_a_flat_hazard_is_the_best_even_one() -> None:
    best = find_optimum(Flat(10), price=PRICE)
    even = min((0.01 * step for step in range(50, 300)), key=lambda each: cost_of(fixed(each), PRICE))

    assert best == pytest.approx(fixed(even), rel=0.02)
    assert cost_of(best, PRICE) == pytest.approx(cost_of(fixed(even), PRICE), rel=1e-3)


def fixed(spacing: float) -> Point:
    return price_fixed(Flat(10), spacing=spacing)


def test_evenly_spaced_checks_cost_what_arithmetic_says() -> None:
    requests = 1 / (1 - math.exp(-0.1))

    assert price_fixed(Flat(10), spacing=1) == pytest.approx((requests, requests - 10), rel=1e-3)


@pytest.mark.parametrize("sigma", [0.3, 0.8])
def test_no_schedule_costs_less_than_the_best_one(sigma: float) -> None:
    truth = LogNormal(60, sigma)
    best = find_optimum(truth, price=PRICE)
    law = price_schedule(truth, truth, price=PRICE)

    assert mean_seconds(truth) == pytest.approx(60 * math.exp(sigma**2 / 2), rel=1e-3)
    assert cost_of(best, PRICE) < cost_of(law, PRICE) < 1.02 * cost_of(best, PRICE)
    assert cost_of(best, PRICE) < cost_of(price_schedule(PRIOR, truth, price=PRICE), PRICE)


@pytest.mark.parametrize("scenario", [SCENARIOS[0], SCENARIOS[3]], ids=lambda each: each.name)
def test_two_hundred_renders_teach_a_schedule_near_the_best(scenario: WatchScenario) -> None:
    compared = compare(scenario, price=0.5, seeds=1)

    assert 0.999 < compared.informed / compared.optimum < 1.12
    assert compared.learned < 1.2 * compared.optimum
    assert compared.learned < 0.8 * compared.prior < 0.8 * compared.fixed


def test_curves_fall_and_the_optimum_lies_below() -> None:
    curves = trace_curves(SCENARIOS[0], prices=(0.5, 2.0))

    assert len(curves) == 4
    for points in curves.values():
        assert points[0].requests > points[1].requests
        assert points[0].delay_seconds < points[1].delay_seconds
    for best, even in zip(curves["optimum"], curves["fixed spacing"], strict=True):
        assert even.requests == pytest.approx(best.requests, rel=0.02)
        assert even.delay_seconds > best.delay_seconds
