"""Reading the provider's list page by page, so that no answer from behind hides what is in the middle."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Protocol

from rushes.wavespeed import PredictionPage, ProviderUnavailable

EDGE = timedelta(milliseconds=1)
"""By how much pages overlap: the list is asked for whole milliseconds, and its own times may be finer."""


class AskForPage(Protocol):
    """One request; whatever else is asked for is the caller's."""

    def __call__(self, *, page: int, created_before: datetime | None) -> PredictionPage: ...


def read_pages(ask: AskForPage, *, created_before: datetime | None = None, limit: int) -> Iterator[PredictionPage]:
    """Every page, newest first, until the last or the `limit`; what is at an edge is shown twice.

    A page begins at the time where the one before it ended. Counted pages would not do: a list that is late shows fewer
    young predictions than the page before it did, and would so skip as many older ones, which are then in no page.
    That rests on the order, which the provider documents. Raises `ProviderUnavailable` for a page that is oldest first
    and not the last: most of the list would be missed.
    """
    before, number = created_before, 1
    for _ in range(limit):
        page = ask(page=number, created_before=before)
        yield page
        if page.is_last:
            return
        if _is_oldest_first(page):
            raise ProviderUnavailable("the list is oldest first: what it does not show may be there")
        edge = min((each.created_at + EDGE for each in page.items if each.created_at), default=None)
        if edge is not None and (before is None or edge < before):
            before, number = edge, 1
        else:
            number += 1  # more of one moment than a page holds


def _is_oldest_first(page: PredictionPage) -> bool:
    """Rises and never falls: one odd time among many, or many of one moment, are not enough."""
    times = [each.created_at for each in page.items if each.created_at]
    return bool(times) and times[0] < times[-1] and all(one <= other for one, other in pairwise(times))
