"""Reading a list page by page, from a provider whose answers are late by different times."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.provider_list.paging import read_pages
from rushes.wavespeed.answers import ProviderUnavailable
from rushes.wavespeed.predictions import PredictionPage, PredictionStatus, ProviderPrediction

SIZE = 3
BEGAN = datetime(2026, 11, 20, tzinfo=UTC)


class Provider:
    """Lists what was created at these milliseconds; `late` says which is the youngest that an answer may show."""

    def __init__(self, created: list[int], late: Callable[[int], int], *, newest_first: bool = True) -> None:
        self._created = sorted(created, reverse=newest_first)
        self._late = late
        self.requests = 0

    def ask(self, *, page: int, created_before: datetime | None) -> PredictionPage:
        newest = BEGAN + timedelta(milliseconds=self._late(self.requests))
        self.requests += 1
        end = min(newest, created_before or newest)
        listed = [(number, moment(each)) for number, each in enumerate(self._created) if moment(each) <= end]
        shown = listed[(page - 1) * SIZE : page * SIZE]
        items = tuple(
            ProviderPrediction(id=str(number), status=PredictionStatus.CREATED, created_at=created)
            for number, created in shown
        )
        return PredictionPage(items, 0, is_last=len(items) < SIZE)


def moment(milliseconds: int) -> datetime:
    return BEGAN + timedelta(milliseconds=milliseconds)


def read(provider: Provider, **options: datetime) -> list[str]:
    return [each.id for page in read_pages(provider.ask, limit=100, **options) for each in page.items]


@given(created=st.sets(st.integers(0, 30), max_size=25), newest=st.lists(st.integers(40, 90), min_size=1))
def test_late_pages_miss_no_old_prediction(created: set[int], newest: list[int]) -> None:
    apart = [2 * each for each in created]  # so that no page holds a single moment
    shown = read(Provider(apart, lambda number: newest[number % len(newest)]))
    assert {str(number) for number, each in enumerate(sorted(apart, reverse=True)) if each <= 40} <= set(shown)


def test_predictions_of_one_moment_are_all_shown() -> None:
    provider = Provider([5] * 10 + [1], lambda _: 100)
    assert set(read(provider)) == {str(number) for number in range(11)}


@pytest.mark.parametrize("created", [[10, 20, 30, 40], [10, 10, 20, 30], list(range(0, 90, 10))])
def test_a_list_that_is_oldest_first_proves_no_absence(created: list[int]) -> None:
    with pytest.raises(ProviderUnavailable, match="oldest first"):
        read(Provider(created, lambda _: 100, newest_first=False))


def test_a_single_page_is_whole_in_any_order() -> None:
    assert read(Provider([10, 20], lambda _: 100, newest_first=False)) == ["0", "1"]


def test_a_page_after_the_last_is_not_asked_for() -> None:
    provider = Provider([30, 20], lambda _: 100)
    assert read(provider) == ["0", "1"]
    assert provider.requests == 1


def test_predictions_created_after_the_end_of_the_window_are_not_shown() -> None:
    assert read(Provider([30, 20, 10], lambda _: 100), created_before=moment(20)) == ["1", "2"]
