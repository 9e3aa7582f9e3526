"""The benchmark's own arithmetic: slots, delays, percentiles and medians of cases that can be done by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.arithmetic import (
    Span,
    count_unseen,
    find_mean,
    find_medians,
    find_percentile,
    measure_delays,
    measure_slot_share,
)
from bench.loads import FULL, LOADS, STANDARD, list_names, quicken
from tests.support.measurements import FIGURES


def test_slots_refilled_at_once_are_all_busy() -> None:
    spans = [Span("a", 0, 0, 10), Span("b", 0, 0, 4), Span("c", 4, 4, 9), Span("d", 9, 9, 20)]
    assert measure_slot_share(spans, 2) == pytest.approx(1.0)


def test_a_gap_of_one_second_in_ten_on_one_of_two_slots_is_a_twentieth() -> None:
    spans = [Span("a", 0, 0, 30), Span("b", 0, 0, 5), Span("c", 6, 6, 10), Span("d", 10, 10, 30)]
    assert measure_slot_share(spans, 2) == pytest.approx(0.95)


def test_idle_time_before_full_slots_or_after_the_last_submit_is_left_out() -> None:
    spans = [Span("a", 0, 0, 30), Span("b", 8, 8, 12), Span("c", 12, 12, 14)]
    assert measure_slot_share(spans, 2) == pytest.approx(1.0)


def test_a_task_that_waits_in_the_providers_queue_is_not_running() -> None:
    spans = [Span("a", 0, 0, 10), Span("b", 1, 10, 20), Span("c", 2, 20, None), Span("d", 15, None, None)]
    assert measure_slot_share(spans, 1) == pytest.approx(1.0)


def test_slots_that_were_never_all_busy_count_from_their_maximum() -> None:
    spans = [Span("a", 0, 0, 20), Span("b", 5, 5, 10), Span("c", 10, 10, 20)]
    assert measure_slot_share(spans, 4) == pytest.approx(0.5)


def test_a_share_needs_a_backlog() -> None:
    assert measure_slot_share([], 3) is None
    assert measure_slot_share([Span("a", 0, 0, 10), Span("b", 0, 0, 10)], 2) is None


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 20)), min_size=1, max_size=30))
def test_the_share_never_exceeds_one_unless_more_run_than_slots(
    given_spans: list[tuple[float, float]],
) -> None:
    spans = [Span(str(number), start, start, start + length) for number, (start, length) in enumerate(given_spans)]
    share = measure_slot_share(spans, len(spans))
    assert share is None or 0 <= share <= 1 + 1e-9


def test_delays_are_from_the_end_of_the_same_task_and_rise() -> None:
    spans = [Span("a", 0, 0, 10.0), Span("b", 0, 0, 20.0), Span("c", 0, 0, None), Span("d", 0, 0, 5.0)]
    known = {"a": 10.75, "b": 20.25, "c": 30.0}
    assert measure_delays(spans, known) == [0.25, 0.75]
    assert count_unseen(spans, known) == 1


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (find_percentile(values, 0.95), find_percentile(values, 1.0), find_percentile([7.0], 0.95)) == (95, 100, 7)
    assert (find_percentile([], 0.95), find_mean([]), find_mean([1.0, 2.0])) == (None, None, 1.5)


def test_medians_are_taken_figure_by_figure() -> None:
    runs = [
        replace(FIGURES, mean_delay=delay, cpu_ms=cpu)
        for delay, cpu in ((0.1, {"worker": 1.0}), (None, {"worker": 5.0, "API": 4.0}), (0.3, {"worker": 2.0}))
    ]
    found = find_medians(runs)
    assert found.mean_delay == pytest.approx(0.2)
    assert found.cpu_ms == {"worker": 2.0, "API": 4.0}
    assert find_medians([FIGURES]) == FIGURES


def test_the_standard_set_fits_into_fifteen_minutes() -> None:
    held = [LOADS[name] for name in STANDARD if name in LOADS]
    pushing_and_single_polls = 150
    assert sum(each.seconds * len(each.contestants) for each in held) + pushing_and_single_polls < 15 * 60


def test_names_of_sets_stand_for_their_loads() -> None:
    assert list_names(["slots-3", "full"])[0] == "slots-3"
    assert sorted(list_names(["slots-3", "full"])) == sorted(FULL)
    with pytest.raises(KeyError, match="slots-4"):
        list_names(["slots-4"])


@pytest.mark.parametrize("name", LOADS)
def test_every_load_has_a_quick_variant(name: str) -> None:
    quick = quicken(LOADS[name])
    assert quick.seconds < 45
    assert quick.renders >= 2 * quick.slots or quick.hold or quick.median < 1
