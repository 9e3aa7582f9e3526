"""Reading the provider's list page by page, so that a lagging list never hides entries in the middle."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Protocol

from rushes.wavespeed import PredictionPage, ProviderUnavailable

EDGE = timedelta(milliseconds=1)
"""Overlap of pages: the list is requested by whole milliseconds, and its own times may be finer."""


class AskForPage(Protocol):
    """Makes one request; the caller has set all other parameters."""

    def __call__(self, *, page: int, created_before: datetime | None) -> PredictionPage: ...


def read_pages(ask: AskForPage, *, created_before: datetime | None = None, limit: int) -> Iterator[PredictionPage]:
    """Yield every page, newest first, up to the last or the `limit`. Entries at an edge may appear twice.

    Each page begins at the time at which the previous one ended. Page numbers alone are unsafe: a lagging list shows
    fewer young predictions than it did for the previous page. It then skips as many older ones, so no page shows them.
    This relies on the order that the provider documents. Raises `ProviderUnavailable` if a page is oldest first and not
    the last: most of the list would be missed.
    """
    before, number = created_before, 1
    for _ in range(limit):
        page = ask(page=number, created_before=before)
        yield page
        if page.is_last:
            return
        if _is_oldest_first(page):
            raise ProviderUnavailable("the list is oldest first: a prediction that it does not show may still exist")
        edge = min((each.created_at + EDGE for each in page.items if each.created_at), default=None)
        if edge is not None and (before is None or edge < before):
            before, number = edge, 1
        else:
            number += 1  # one moment has more entries than a page holds


def _is_oldest_first(page: PredictionPage) -> bool:
    """Whether times rise and never fall. One odd time among many, or many equal times, are not enough."""
    times = [each.created_at for each in page.items if each.created_at]
    return bool(times) and times[0] < times[-1] and all(one <= other for one, other in pairwise(times))
