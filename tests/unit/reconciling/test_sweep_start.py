"""From when a run sweeps for unknown predictions: pure."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.transitions.reconciling.runs import SWEEP_PAUSE, RunTicket
from models.transitions.watching.retention import RETENTION, SEARCH
from rushes.reconciling.evidence import RESTORE_MARGIN, SEARCH_GROWTH, SWEEP_OVERLAP, find_sweep_start

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

ages = st.timedeltas(min_value=timedelta(0), max_value=RETENTION + HOUR)


def ticket(
    *, swept: timedelta | None = None, posted: timedelta | None = None, restored_to: timedelta | None = None
) -> RunTicket:
    """The ticket of a run at noon: the ages of the last sweep, of the first POST and of a restored state."""
    return RunTicket(
        began_at=NOON,
        list_lag=timedelta(0),
        swept_at=NOON - swept if swept is not None else None,
        first_posted_at=NOON - posted if posted is not None else None,
        restored_at=NOON if restored_to is not None else None,
        restored_to=NOON - restored_to if restored_to is not None else None,
    )


def depth(of: RunTicket, *not_found: timedelta) -> timedelta | None:
    """How long before noon the sweep begins, with submissions marked not found of these ages."""
    start = find_sweep_start(of, [NOON - each for each in not_found])
    return NOON - start if start is not None else None


@pytest.mark.parametrize(
    ("posted", "swept", "goes_back"),
    [
        (2 * HOUR, HOUR, True),  # its age has grown by half
        (5 * HOUR, 11 * MINUTE, False),  # not yet again
        (SEARCH + 5 * MINUTE, 11 * MINUTE, True),  # the list soon drops it
        (RETENTION + HOUR, 11 * MINUTE, False),  # the list has dropped it
        (-MINUTE, 11 * MINUTE, False),  # by a clock that is ahead of this one
    ],
)
def test_a_sweep_goes_back_to_a_not_found_submission(posted: timedelta, swept: timedelta, goes_back: bool) -> None:
    assert depth(ticket(swept=swept), posted) == (posted if goes_back else swept + SWEEP_OVERLAP)


def test_a_sweep_after_a_restore_goes_back_to_no_not_found_submission() -> None:
    assert depth(ticket(swept=HOUR, restored_to=MINUTE), 2 * HOUR) == HOUR + SWEEP_OVERLAP


@given(ages, ages)
def test_a_sweep_after_a_restore_begins_before_the_restored_state(swept: timedelta, restored_to: timedelta) -> None:
    found = depth(ticket(swept=swept, restored_to=restored_to))
    assert found == min(RETENTION, max(swept + SWEEP_OVERLAP, restored_to + RESTORE_MARGIN))


def test_a_restored_state_without_a_claim_is_swept_as_far_as_possible() -> None:
    restored = ticket(restored_to=HOUR)._replace(restored_to=None)
    assert depth(restored) == RETENTION


@given(st.none() | ages)
def test_a_first_sweep_goes_back_to_the_first_post(posted: timedelta | None) -> None:
    assert depth(ticket(posted=posted)) == min(RETENTION, posted if posted is not None else RETENTION)


@given(ages, st.lists(ages))
def test_a_sweep_overlaps_the_last_one_and_is_made_once_in_a_pause(
    swept: timedelta, not_found: list[timedelta]
) -> None:
    found = depth(ticket(swept=swept), *not_found)
    if swept <= SWEEP_PAUSE:
        assert found is None
    else:
        assert found is not None
        assert min(RETENTION, swept + SWEEP_OVERLAP) <= found <= RETENTION


@given(st.timedeltas(min_value=SWEEP_PAUSE + 2 * SECOND, max_value=RETENTION - 2 * SECOND), st.floats(0, 1))
def test_a_submission_is_searched_for_once_its_age_has_grown_by_half(swept: timedelta, share: float) -> None:
    oldest = min(RETENTION - SECOND, (SEARCH_GROWTH * swept - SECOND) / (SEARCH_GROWTH - 1))
    posted = swept + SECOND + share * (oldest - swept - SECOND)
    assert depth(ticket(swept=swept), posted) == max(posted, min(RETENTION, swept + SWEEP_OVERLAP))


@given(st.timedeltas(min_value=SWEEP_PAUSE + MINUTE, max_value=SEARCH))
def test_at_most_twenty_sweeps_go_back_to_one_submission(interval: timedelta) -> None:
    moments = [interval * number for number in range(1, int(RETENTION / interval) + 1)]
    longer = [depth(ticket(swept=interval), age) == age for age in moments if age > interval + SWEEP_OVERLAP]
    assert sum(longer) <= 20
