"""What queues ahead at the provider, and how submissions are spread over the minute."""

import random

from hypothesis import given
from hypothesis import strategies as st

from rushes.submitting.limits import InFlightWindow, OvercommitSizer, SubmitTokenBucket, lateness_of_checks

WINDOW = 64.0


def steady(size: OvercommitSizer, *, per_second: float, submitting: int, seconds: float = 120.0) -> None:
    """Turns ten times a second, as a farm with full slots sees them."""
    for turn in range(int(seconds * 10)):
        admitted = int((turn + 1) * per_second / 10) - int(turn * per_second / 10)
        size.note(now=turn / 10, admitted=admitted, submitting=submitting, free=0)


def test_one_render_is_tried_first_and_the_size_then_doubles() -> None:
    size = OvercommitSizer(seen_seconds=0.5)
    steady(size, per_second=50, submitting=5)
    sizes = [0]
    for _ in range(8):
        sizes.append(size.next_size(current=sizes[-1], slots=3_000))
    assert sizes[:6] == [0, 1, 2, 4, 8, 16]
    assert sizes[-1] == sizes[-2] == 41  # m = 50 / 2 + 5, and two roots of it


def test_a_quiet_account_submits_nothing_beyond_its_slots() -> None:
    size = OvercommitSizer(seen_seconds=0.5)
    size.note(now=0, admitted=0, submitting=0, free=0)
    assert size.next_size(current=0, slots=100) == 0
    assert size.next_size(current=8, slots=100) == 0


def test_a_small_account_keeps_one_submission_beyond_its_slots() -> None:
    size = OvercommitSizer(seen_seconds=0.5)
    steady(size, per_second=3, submitting=1)
    assert size.next_size(current=1, slots=3) == 1
    assert size.next_size(current=8, slots=16) == 4


def test_an_account_whose_slots_are_not_full_changes_nothing() -> None:
    size = OvercommitSizer(seen_seconds=0.5)
    steady(size, per_second=50, submitting=5)
    size.note(now=121, admitted=5, submitting=5, free=1)
    assert [size.next_size(current=current, slots=3_000) for current in (0, 3, 500)] == [0, 3, 500]


def test_a_size_that_is_nearly_right_is_left_alone() -> None:
    size = OvercommitSizer(seen_seconds=0.5)
    steady(size, per_second=50, submitting=5)
    assert size.next_size(current=50, slots=3_000) == 50
    assert size.next_size(current=90, slots=3_000) == 41


def test_a_burst_may_fill_the_slots_where_the_rate_limit_allows_it() -> None:
    bucket = SubmitTokenBucket(per_window=500, window_seconds=WINDOW)
    assert bucket.allow(now=0, left=500) == 250
    bucket.take(200)
    assert bucket.allow(now=1, left=300) == 50


def test_both_jobs_of_the_smallest_tier_begin_at_once() -> None:
    assert SubmitTokenBucket(per_window=2, window_seconds=WINDOW).allow(now=0, left=2) == 2


def simulate(bucket: SubmitTokenBucket, *, per_window: int, wanted: int, seconds: int) -> list[int]:
    """Take all that is allowed, up to `wanted` a second; returns what was taken in each second."""
    taken: list[int] = []
    for now in range(seconds):
        left = per_window - sum(taken[max(0, now - int(WINDOW) + 1) :])
        count = min(wanted, bucket.allow(now=float(now), left=left))
        assert count <= left
        bucket.take(count)
        taken.append(count)
    return taken


def test_submissions_short_of_rate_slots_are_spread_and_not_starved() -> None:
    taken = simulate(SubmitTokenBucket(per_window=500, window_seconds=WINDOW), per_window=500, wanted=250, seconds=640)
    after = taken[128:]
    assert max(after) <= 2 * 500 / WINDOW
    assert sum(after) >= 0.97 * 500 / WINDOW * len(after)
    idle = max(len(run) for run in "".join("x" if each else "." for each in taken[1:]).split("x"))
    assert idle <= 2


def test_a_rate_limit_that_is_free_again_allows_a_burst() -> None:
    bucket = SubmitTokenBucket(per_window=500, window_seconds=WINDOW)
    assert bucket.allow(now=0, left=100) == 0
    assert bucket.allow(now=10, left=480) == 230


@given(st.integers(1, 2_000), st.integers(1, 300), st.integers(0, 10_000))
def test_no_more_submissions_are_allowed_than_rate_slots_are_left(per_window: int, wanted: int, seed: int) -> None:
    chance = random.Random(seed)
    bucket = SubmitTokenBucket(per_window=per_window, window_seconds=WINDOW)
    simulate(bucket, per_window=per_window, wanted=chance.randrange(wanted) + 1, seconds=150)


def test_the_window_shrinks_while_some_are_handed_back_and_grows_again() -> None:
    window = InFlightWindow()
    assert window.allow(now=0, threads=50, handed_back=0) == 50
    assert [window.allow(now=second / 2, threads=50, handed_back=9) for second in range(4)] == [35, 35, 24, 24]
    assert window.allow(now=60, threads=100, handed_back=1) == 34
    for _ in range(700):
        grown = window.allow(now=61, threads=100, handed_back=0)
    assert grown == 100


def test_the_window_never_closes() -> None:
    window = InFlightWindow()
    sizes = [window.allow(now=second, threads=50, handed_back=1) for second in range(100)]
    assert sizes[-1] == 4
    assert InFlightWindow().allow(now=0, threads=1, handed_back=1) == 1


def test_a_full_page_of_renders_is_seen_sooner_than_a_few() -> None:
    few, page = (lateness_of_checks(request_cost_seconds=0.5, median_seconds=800, slots=slots) for slots in (1, 100))
    assert (few, page) == (10.0, 1.0)
    assert lateness_of_checks(request_cost_seconds=0.5, median_seconds=800, slots=5_000) == page
    assert lateness_of_checks(request_cost_seconds=0.5, median_seconds=0.02, slots=100) == 0.5
