"""Read the provider's list page by page, and count the requests.

A lagging list must never hide entries in the middle. Requests that watch have a budget: the leader grants checks within
it, but only the step that makes a check learns that it needs another page. What goes beyond the granted check becomes a
debt, a number in the account's row. The leader pays it before it grants the next check.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Protocol
from uuid import UUID

from models import transitions
from models.db.session import one_statement
from rushes.runtime import Runtime
from rushes.wavespeed.answers import ProviderUnavailable
from rushes.wavespeed.client import WaveSpeedClient
from rushes.wavespeed.predictions import PredictionPage

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


class CountedLists:
    """The provider's list, with a count of the requests made."""

    def __init__(self, client: WaveSpeedClient) -> None:
        self._client = client
        self.requests = 0

    def list_predictions(self, **asked: Any) -> PredictionPage:
        """Like the client's method. Failed requests count, too."""
        self.requests += 1
        return self._client.list_predictions(**asked)


@contextmanager
def charged_lists(runtime: Runtime, account_id: UUID, *, granted: int) -> Iterator[CountedLists]:
    """Yield a list to read from. Requests beyond `granted` are recorded as owed at the end, even after an error."""
    lists = CountedLists(runtime.client)
    try:
        yield lists
    finally:
        if lists.requests > granted:
            with one_statement(runtime.sessions) as session:
                transitions.lists.owe_requests(session, account_id, count=lists.requests - granted)
