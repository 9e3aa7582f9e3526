"""When a callback is sent again, as a table."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.callbacks.kinds import DEFAULT, GROUPS, KINDS, check_kinds, find_state
from rushes.callbacks.schedule import GIVE_UP, find_hold, find_wait

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
WAITS = [5 * SECOND, MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 12 * HOUR, 12 * HOUR, 12 * HOUR]


def middle() -> float:
    return 0.5


@pytest.mark.parametrize(("attempts", "wait"), enumerate(WAITS, start=1))
def test_the_waits_are_those_of_the_schedule(attempts: int, wait: timedelta) -> None:
    assert find_wait(attempts, random=middle) == wait
    assert find_wait(attempts, random=middle, scale=0.01) == wait / 100
    assert find_wait(attempts, random=lambda: 0.0) == 0.9 * wait
    assert abs(find_wait(attempts, random=lambda: 1.0) - 1.1 * wait) < SECOND


def test_twelve_attempts_fit_into_three_days() -> None:
    assert sum((find_wait(each, random=middle) for each in range(1, 12)), timedelta()) < GIVE_UP
    assert sum((find_wait(each, random=middle) for each in range(1, 13)), timedelta()) > GIVE_UP


@pytest.mark.parametrize(
    ("wish", "wait"),
    [(timedelta(0), 4.5 * SECOND), (SECOND, 4.5 * SECOND), (MINUTE, MINUTE), (timedelta(days=9), HOUR)],
)
def test_retry_after_is_a_lower_bound_up_to_an_hour(wish: timedelta, wait: timedelta) -> None:
    assert find_wait(1, random=lambda: 0.0, retry_after=wish) == wait


@pytest.mark.parametrize(
    ("failures", "hold"),
    [(4, None), (5, 5 * SECOND), (6, MINUTE), (7, 5 * MINUTE), (8, 5 * MINUTE), (500, 5 * MINUTE)],
)
def test_an_endpoint_that_fails_again_and_again_is_held(failures: int, hold: timedelta | None) -> None:
    assert find_hold(failures, broken_after=5) == hold
    assert find_hold(failures, broken_after=5, scale=0.1) == (hold / 10 if hold is not None else None)
    longest = max(hold or timedelta(), 2 * MINUTE)
    assert find_hold(failures, broken_after=5, retry_after=2 * MINUTE) == longest


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.timedeltas(timedelta(0), timedelta(days=100)))
def test_no_wait_is_longer_than_a_little_more_than_half_a_day(attempts: int, luck: float, wish: timedelta) -> None:
    wait = find_wait(attempts, random=lambda: luck, retry_after=wish)
    assert 4 * SECOND < wait <= 1.1 * 12 * HOUR


def test_every_kind_of_the_glossary_can_be_subscribed_to() -> None:
    glossary = (Path(__file__).parents[3] / "docs" / "glossary.md").read_text()
    kinds = set(re.findall(r"`((?:job|batch)\.[a-z_]+)`", glossary.split("## Events")[1]))
    assert kinds <= KINDS
    assert check_kinds([*DEFAULT, *GROUPS, *DEFAULT]) == [*DEFAULT, *GROUPS]


@pytest.mark.parametrize("kinds", [[], ["job"], ["job."], ["*"], ["prediction.*"], ["job.s*"]])
def test_a_kind_that_no_event_has_is_refused(kinds: list[str]) -> None:
    with pytest.raises(ValueError, match="kind"):
        check_kinds(kinds)


@pytest.mark.parametrize(
    ("kind", "state"), [("job.failed", "failed"), ("job.paused", None), ("batch.ended", None), ("job.pushed", None)]
)
def test_a_kind_names_the_state_that_a_job_has_entered(kind: str, state: str | None) -> None:
    assert find_state(kind) == state
