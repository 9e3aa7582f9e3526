"""What is learned of render times: sane whatever was seen, the prior for nothing, the truth for much."""

import math
import random
from collections.abc import Iterable
from itertools import pairwise
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.watching import next_check_age
from rushes.render_times.estimator import WINDOW, Finished, RunningRender, choose_window, learn_render_time
from rushes.render_times.poll_spacing import LogNormal, RenderTime, expected_seconds_left

PRIOR = LogNormal(median_seconds=100, sigma=0.8)
AGES = [0.0, 1e-3, *(0.1 * 1.1**step for step in range(180))]

spans = st.tuples(st.floats(0, 1e7), st.floats(0, 1e5), st.floats(0, 1e5))
finishes = st.lists(spans, max_size=60).map(
    lambda all_: [Finished(ago, *sorted((one, other))) for ago, one, other in sorted(all_)]
)
runnings = st.lists(st.builds(RunningRender, age=st.floats(0, 1e7), renders=st.integers(1, 10_000)), max_size=20)


def take(durations: Iterable[float], *, width: float = 0.0, every: float = 1e4) -> list[Finished]:
    """Renders made one after the other, the last one found just now, each by a check within `width` seconds."""
    ordered = list(durations)
    return [
        Finished(ago=index * every, low=max(0.0, each - width / 2), high=each + width / 2)
        for index, each in enumerate(reversed(ordered))
    ]


def draw(count: int, *, median: float, sigma: float, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [median * math.exp(sigma * rng.gauss(0, 1)) for _ in range(count)]


def quantile_of(render_time: LogNormal, probability: float) -> float:
    return render_time.median_seconds * math.exp(render_time.sigma * NormalDist().inv_cdf(probability))


def median_of(render_time: RenderTime) -> float:
    return next(age for age in (0.1 * 1.01**step for step in range(2_000)) if render_time.survival(age) < 0.5)


@settings(deadline=None, max_examples=60)
@given(finished=finishes, running=runnings)
def test_the_hazard_is_finite_and_survival_falls_whatever_was_seen(
    finished: list[Finished], running: list[RunningRender]
) -> None:
    learned = learn_render_time(PRIOR, finished, running)

    assert all(0 <= learned.hazard(age) < math.inf for age in AGES)
    assert all(learned.hazard(age) > 0 for age in AGES if PRIOR.hazard(age) > 0 and age > 1)
    survivals = [learned.survival(age) for age in AGES]
    assert survivals[0] == 1
    assert all(0 <= later <= earlier + 1e-12 for earlier, later in pairwise(survivals))


@settings(deadline=None, max_examples=20)
@given(finished=finishes, running=runnings)
def test_checks_and_the_time_left_follow_from_an_estimate(
    finished: list[Finished], running: list[RunningRender]
) -> None:
    learned = learn_render_time(PRIOR, finished, running)

    following = next_check_age(learned, age=30, request_cost_seconds=0.5, shortest=1, longest=60)
    assert 31 <= following <= 90
    assert 0 <= expected_seconds_left(learned, 30) < math.inf
    assert hash(learned) == hash(learn_render_time(PRIOR, finished, running))


def test_an_estimate_without_observations_is_the_prior() -> None:
    assert learn_render_time(PRIOR, []) is PRIOR


def test_survival_is_the_integral_of_the_hazard() -> None:
    learned = learn_render_time(PRIOR, take(draw(50, median=40, sigma=0.5)))
    steps = [0.01 * step for step in range(1, 20_001)]
    passed = sum(learned.hazard(age - 0.005) * 0.01 for age in steps)

    assert learned.survival(200) == pytest.approx(math.exp(-passed), rel=0.01)


def test_one_render_moves_the_belief_and_does_not_settle_it() -> None:
    learned = learn_render_time(PRIOR, [Finished(0, 20, 22)])

    assert median_of(learned) < 0.9 * PRIOR.median_seconds
    assert learned.survival(200) > 0.05


@pytest.mark.parametrize(("median", "sigma"), [(20, 0.3), (60, 0.8), (600, 0.3)])
def test_four_hundred_renders_outweigh_a_prior_that_is_wrong(median: float, sigma: float) -> None:
    truth = LogNormal(median_seconds=median, sigma=sigma)
    learned = learn_render_time(PRIOR, take(draw(WINDOW, median=median, sigma=sigma), width=median / 20))

    for probability in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert 1 - learned.survival(quantile_of(truth, probability)) == pytest.approx(probability, abs=0.06)


def test_two_sorts_of_renders_keep_a_gap_between_them() -> None:
    short, long = draw(120, median=30, sigma=0.1), draw(120, median=90, sigma=0.1, seed=2)
    mixed = [each for pair in zip(short, long, strict=True) for each in pair]
    learned = learn_render_time(PRIOR, take(mixed))

    assert learned.hazard(55) < 0.1 * min(learned.hazard(32), learned.hazard(95))
    assert learned.survival(55) == pytest.approx(0.5, abs=0.03)


def test_renders_in_flight_push_the_belief_to_longer_times() -> None:
    finished = take(draw(30, median=40, sigma=0.3))
    alone = learn_render_time(PRIOR, finished)
    with_longer = learn_render_time(PRIOR, finished, [RunningRender(80, 30)])

    assert with_longer.survival(80) > 1.3 * alone.survival(80)
    assert median_of(with_longer) > median_of(alone)


def test_renders_in_flight_alone_lengthen_the_belief() -> None:
    learned = learn_render_time(PRIOR, [], [RunningRender(100, 20)])

    assert learned.survival(100) > 0.9
    assert learned.hazard(300) == pytest.approx(PRIOR.hazard(300))


def test_the_hazard_beyond_the_observed_ages_is_that_of_the_prior() -> None:
    learned = learn_render_time(PRIOR, take(draw(200, median=20, sigma=0.3)))

    for age in (500, 5_000, 1e6, 1e9):
        assert learned.hazard(age) == pytest.approx(PRIOR.hazard(age))


def test_wide_intervals_do_not_widen_the_belief() -> None:
    """Seen only every 15 s, as coarse as the spread itself: what is learned is no wider than the truth by a tenth."""
    checks = [15.0 * number for number in range(1, 40)]
    seen = []
    for index, each in enumerate(draw(WINDOW, median=60, sigma=0.25)):
        high = next(check for check in checks if check >= each)
        seen.append(Finished(float(index), high - 15, high))
    learned = learn_render_time(PRIOR, seen)
    truth = LogNormal(median_seconds=60, sigma=0.25)

    for probability in (0.1, 0.9):
        assert 1 - learned.survival(quantile_of(truth, probability)) == pytest.approx(probability, abs=0.05)


def test_renders_of_the_whole_window_count_where_nothing_changes() -> None:
    windows = [choose_window(take(draw(WINDOW + 50, median=60, sigma=0.3, seed=seed))) for seed in range(20)]

    assert sorted(windows)[4] == WINDOW
    assert min(windows) >= 20


@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_a_change_is_believed_within_thirty_renders(factor: float) -> None:
    before = draw(300, median=60, sigma=0.3)
    after = draw(30, median=60 * factor, sigma=0.3, seed=2)
    finished = take([*before, *after])

    assert choose_window(finished) <= 45
    assert median_of(learn_render_time(PRIOR, finished)) == pytest.approx(60 * factor, rel=0.15)


def test_renders_outside_the_window_do_not_count() -> None:
    """Slots full of slow renders: those that began before the change are at risk in the window, and only there."""
    before, after = draw(300, median=60, sigma=0.2), draw(40, median=20, sigma=0.2, seed=2)
    finished = take([*before, *after])
    window = choose_window(finished)
    old = [RunningRender(finished[window].ago + 30.0, 500)]
    learned = learn_render_time(PRIOR, finished, old)

    assert learned.hazard(20) == pytest.approx(learn_render_time(PRIOR, finished).hazard(20), rel=0.05)
    assert learned.hazard(40) < 0.5 * learn_render_time(PRIOR, finished).hazard(40)
