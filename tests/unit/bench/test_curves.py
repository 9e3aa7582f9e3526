"""The curves that measurements are held against."""

import itertools

import pytest

from bench.curves import draw_curves, find_sweep
from bench.results import Result


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


def test_a_dearer_check_means_fewer_checks_and_more_delay() -> None:
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
    assert sweep.delay_seconds == 0.25
    assert sweep.requests == pytest.approx(2 / (0.5 * 150 / (10 * 1.13315)), rel=1e-3)
