"""Waits after errors, and work that is due every few seconds."""

import itertools
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rushes import timing
from rushes.timing import Every, RetryPolicy, backoff, read_retry_after

POLICIES = {name: value for name, value in vars(timing).items() if isinstance(value, RetryPolicy)}
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ALMOST_ONE = math.nextafter(1, 0)

attempts = st.integers(1, 10**9)
draws = st.floats(0, ALMOST_ONE)
lengths = st.timedeltas(timedelta(0), timedelta(days=30))


@pytest.mark.parametrize(
    ("attempt", "draw", "seconds"),
    [(1, 0.0, 0), (1, 0.5, 1), (2, 0.5, 2), (3, 0.5, 4), (5, 0.5, 16), (6, 0.5, 30), (7, 0.5, 30), (10**6, 0.5, 30)],
)
def test_the_ceiling_doubles_up_to_the_cap(attempt: int, draw: float, seconds: int) -> None:
    delay = backoff(attempt, base=timedelta(seconds=2), cap=timedelta(seconds=60), random=lambda: draw)

    assert delay == timedelta(seconds=seconds)


@given(attempt=attempts, draw=draws, base=lengths, cap=lengths)
def test_a_wait_lies_between_nothing_and_the_cap(attempt: int, draw: float, base: timedelta, cap: timedelta) -> None:
    assert timedelta(0) <= backoff(attempt, base=base, cap=cap, random=lambda: draw) <= cap


@given(attempt=attempts, base=lengths, cap=lengths)
def test_the_ceiling_never_falls_with_another_failure(attempt: int, base: timedelta, cap: timedelta) -> None:
    first, second = (backoff(each, base=base, cap=cap, random=lambda: 1.0) for each in (attempt, attempt + 1))

    assert first <= second
    assert first in {min(base, cap), cap} or first == base * 2 ** (attempt - 1)


@given(base=st.timedeltas(timedelta(microseconds=1), timedelta.max), attempt=attempts)
def test_a_wait_of_any_length_does_not_overflow(base: timedelta, attempt: int) -> None:
    assert backoff(attempt, base=base, cap=timedelta.max, random=lambda: 0.5) <= timedelta.max


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_no_number_of_attempts_ends_a_policy(policy: RetryPolicy) -> None:
    assert policy.next_delay(10**6, random=lambda: 0.5) == policy.cap / 2


@given(policy=st.sampled_from([*POLICIES.values()]), attempt=st.integers(1, 2), draw=draws, wish=lengths)
def test_the_other_sides_wish_is_a_floor_of_at_most_an_hour(
    policy: RetryPolicy, attempt: int, draw: float, wish: timedelta
) -> None:
    delay = policy.next_delay(attempt, random=lambda: draw, retry_after=wish)

    assert delay >= min(wish, timedelta(hours=1))
    assert delay <= max(policy.cap, min(wish, timedelta(hours=1)) + policy.base)


def test_callers_that_got_the_same_answer_come_back_apart() -> None:
    wish = timedelta(seconds=30)
    early, late = (
        timing.ACCOUNT_BACKED_OFF.next_delay(1, random=lambda draw=draw: draw, retry_after=wish) for draw in (0.0, 0.9)
    )

    assert early == wish
    assert late == wish + timing.ACCOUNT_BACKED_OFF.base * 0.9


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("30", 30),
        (" 30 ", 30),
        ("999999999999999999999", 3_600),
        ("Sun, 22 Nov 2026 12:01:30 GMT", 90),
        ("Sun, 22 Nov 2026 14:01:30 +0200", 90),
        ("Sun, 22 Nov 2026 12:01:30 -0000", 90),
        ("Sunday, 22-Nov-26 12:01:30 GMT", 90),
        ("Sun, 22 Nov 2020 12:00:00 GMT", 0),
        ("Sun, 22 Nov 2099 12:00:00 GMT", 3_600),
    ],
)
def test_retry_after_is_a_wait_from_now(value: str, seconds: int) -> None:
    assert read_retry_after(value, now=NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "²", "٣", "22 Nov", "Sun, 99 Nov 2026 99:00:00 GMT"])
def test_an_unreadable_retry_after_is_none(value: str) -> None:
    assert read_retry_after(value, now=NOW) is None


@settings(deadline=None)
@given(st.text())
def test_a_retry_after_of_any_text_raises_nothing(value: str) -> None:
    read_retry_after(value, now=NOW)


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
