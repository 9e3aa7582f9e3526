"""Look up in the provider's list a prediction that its result page does not know."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

from models.queries.reconciling.runs import ControlPrediction
from rushes.errors import Transient
from rushes.provider_list.ownership import ADVICE, ForeignList, is_ours
from rushes.provider_list.paging import read_pages
from rushes.provider_list.request_budget import CountedLists

MARGIN = timedelta(minutes=1)
"""Margin on both sides of the provider's own time, by which it lists."""
WIDE_MARGIN = timedelta(minutes=10)
"""Margin on both sides of our time: clocks differ."""
PAGE_LIMIT = 100


class UndecidedList(Transient):
    """The provider sent the list, but it is too long or not readable, so nothing is known."""


def is_listed(
    lists: CountedLists,
    provider_id: str,
    *,
    created_at: datetime,
    by_provider: bool,
    controls: Sequence[ControlPrediction],
) -> bool:
    """Read the list around this time, the provider's or else ours, to the end or until it shows the id.

    Returns False only if the list shows a control prediction or there is none; otherwise raises `ForeignList`.
    Raises `UndecidedList`, `AccountRefused` and `ProviderUnavailable`: then nothing is known.
    """
    seen: set[str] = set()
    for ids in _read_pages(lists, created_at, margin=MARGIN if by_provider else WIDE_MARGIN):
        if provider_id in ids:
            return True
        seen |= ids
    if is_ours(controls, seen):
        return False
    # The control predictions may lie outside the range read so far: read around the nearest one.
    nearest = min(controls, key=lambda each: (not each.is_earlier, abs(each.created_at - created_at)))
    for ids in _read_pages(lists, nearest.created_at, margin=MARGIN):
        seen |= ids
    if is_ours(controls, seen):
        return False
    raise ForeignList(ADVICE)


def _read_pages(lists: CountedLists, moment: datetime, *, margin: timedelta) -> Iterator[set[str]]:
    ask = partial(lists.list_predictions, created_after=moment - margin)
    for listed in read_pages(ask, created_before=moment + margin, limit=PAGE_LIMIT):
        yield {each.id for each in listed.items}
        if listed.unreadable:
            raise UndecidedList(f"{listed.unreadable} entries of the list have no readable id")
        if listed.is_last:
            return
    raise UndecidedList(f"the list has more than {PAGE_LIMIT} pages for the time in question")
