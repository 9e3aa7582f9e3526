"""How many store steps run at the same time: enough for the rate of completions, never more than there are threads."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from rushes.storing.store_threads import LEAST_THREADS, count_store_threads


class Measured(NamedTuple):
    """What the dispatcher measures."""

    completions_per_second: float
    seconds_per_store: float
    waiting: int

    def count(self, *, most: int = 64) -> int:
        return count_store_threads(**self._asdict(), most=most)


MEASURED = st.builds(Measured, st.floats(0, 1_000), st.floats(0, 2_000), st.integers(0, 100_000))


@given(MEASURED, st.integers(0, 500))
def test_the_pool_is_never_exceeded(measured: Measured, most: int) -> None:
    assert measured.count(most=most) <= most


@given(MEASURED, st.integers(LEAST_THREADS, 500))
def test_an_idle_farm_keeps_a_few_steps(measured: Measured, most: int) -> None:
    assert measured.count(most=most) >= LEAST_THREADS


@given(MEASURED, st.integers(1, 500))
def test_steps_below_the_maximum_keep_up_with_the_completions(measured: Measured, most: int) -> None:
    steps = measured.count(most=most)
    assert steps == most or steps >= measured.completions_per_second * measured.seconds_per_store


@given(MEASURED, MEASURED, st.integers(1, 500))
def test_more_work_never_needs_fewer_steps(one: Measured, other: Measured, most: int) -> None:
    more = Measured(*map(max, one, other))
    assert more.count(most=most) >= one.count(most=most)


def test_fifty_files_per_second_of_a_quarter_second_each() -> None:
    assert Measured(50, 0.25, 0).count() == 19  # 12.5 and half as many again
    assert Measured(50, 0.25, 1_000).count() == 57  # and ten seconds for the backlog
    assert Measured(50, 0.25, 10_000).count() == 64
