"""Work that is due every few seconds."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from rushes.intervals import Every


def test_work_is_due_at_first_and_then_once_per_interval() -> None:
    every = Every(10.0)
    assert [now for now in range(100, 131) if every.begin_if_due(now)] == [100, 110, 120, 130]


def test_after_a_gap_work_is_due_once_and_not_for_each_missed_interval() -> None:
    every = Every(1.0, began_at=0.0)
    assert [every.begin_if_due(now) for now in (0.9, 15.0, 15.0, 15.9, 16.0)] == [False, True, False, False, True]


def test_work_stays_due_until_it_begins() -> None:
    every = Every(1.0)
    assert [every.is_due(now) for now in (5.0, 5.0, 6.0)] == [True, True, True]
    every.began_at = 6.0
    assert [every.is_due(now) for now in (6.0, 6.9, 7.0)] == [False, False, True]


@given(st.floats(0.1, 100), st.lists(st.floats(0, 1_000)))
def test_two_beginnings_are_never_closer_than_the_interval(seconds: float, moments: list[float]) -> None:
    every = Every(seconds)
    begun = [now for now in sorted(moments) if every.begin_if_due(now)]
    assert all(later - earlier >= seconds for earlier, later in itertools.pairwise(begun))
