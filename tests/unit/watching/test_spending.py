"""The best stretches of a list: never wider than a page, never sharing a row, the dearest first."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.watching.spending import Window, pick_windows, shrink_window

rows = st.lists(st.tuples(st.integers(1, 40), st.floats(0, 10)), max_size=60)


@given(rows=rows, size=st.integers(1, 100), price=st.floats(0.01, 30))
def test_windows_fit_a_page_share_no_row_and_are_worth_the_price(
    rows: list[tuple[int, float]], size: int, price: float
) -> None:
    ranks = [sum(gap for gap, _ in rows[: number + 1]) for number in range(len(rows))]
    worths = [worth for _, worth in rows]
    windows = pick_windows(ranks, worths, size=size, price=price)
    covered = [row for each in windows for row in range(each.first, each.last + 1)]
    assert len(covered) == len(set(covered))
    assert [each.worth for each in windows] == sorted((each.worth for each in windows), reverse=True)
    for each in windows:
        assert ranks[each.last] - ranks[each.first] < size
        assert each.worth == pytest.approx(sum(worths[each.first : each.last + 1]), abs=1e-9)
    if any(worth >= price + 1e-6 for worth in worths):
        assert windows[0].worth >= max(worths) - 1e-9


def test_the_dearest_window_wins_over_its_neighbours() -> None:
    assert pick_windows([0, 1, 2, 3, 4], [1, 5, 5, 1, 9], size=2, price=4) == [
        Window(pytest.approx(10), 3, 4),
        Window(pytest.approx(10), 1, 2),
    ]


def test_the_best_window_says_how_far_it_is_from_the_price() -> None:
    assert pick_windows([0, 5, 6], [0.1, 0.2, 0.3], size=3, price=1) == [Window(pytest.approx(0.5), 1, 2)]


def test_no_window_is_picked_where_nothing_is_worth_a_check() -> None:
    assert pick_windows([], [], size=100, price=1) == []
    assert pick_windows([0, 1], [0.0, 0.0], size=100, price=1) == []


def test_a_window_is_a_page_where_every_row_is_ours() -> None:
    assert shrink_window(98, share=1.0) == 98


@given(share=st.floats(0, 1))
def test_a_window_holds_at_least_one_and_no_more_than_its_share(share: float) -> None:
    assert 1 <= shrink_window(98, share=share) <= max(1, 98 * share)


@pytest.mark.parametrize("share", [0.8, 0.5, 0.25])
def test_a_page_covers_a_window_among_others_nearly_always(share: float) -> None:
    luck, size = random.Random(3), shrink_window(98, share=share)
    within = 0
    for _ in range(2_000):
        ours = sum(luck.random() < share for _ in range(98))
        within += ours >= size
    assert within / 2_000 > 0.93
    assert size > 98 * share * 0.6
