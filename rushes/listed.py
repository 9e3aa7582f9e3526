"""Whether the provider's list shows a prediction that its result page does not know."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

from models.queries import Witness
from rushes.budget import CountedLists
from rushes.pages import read_pages
from rushes.wavespeed import ProviderUnavailable
from rushes.witnesses import ADVICE, ForeignList, is_ours

MARGIN = timedelta(minutes=10)
"""To both sides of when it was accepted: clocks differ."""
PAGE_LIMIT = 100


def is_listed(lists: CountedLists, provider_id: str, *, accepted_at: datetime, witnesses: Sequence[Witness]) -> bool:
    """Read the list around this time, to the end or until it shows the id.

    False only for a list that shows one of the witnesses, where there are any; else raises `ForeignList`.
    Raises `AccountRefused`, and `ProviderUnavailable` also for a list that cannot be read: then nothing is known.
    """
    seen: set[str] = set()
    for ids in _read_pages(lists, accepted_at):
        if provider_id in ids:
            return True
        seen |= ids
    if is_ours(witnesses, seen):
        return False
    # Farther away than the list was read: those around the nearest one.
    nearest = min(witnesses, key=lambda each: (not each.is_earlier, abs(each.created_at - accepted_at)))
    for ids in _read_pages(lists, nearest.created_at):
        seen |= ids
    if is_ours(witnesses, seen):
        return False
    raise ForeignList(ADVICE)


def _read_pages(lists: CountedLists, moment: datetime) -> Iterator[set[str]]:
    ask = partial(lists.list_predictions, created_after=moment - MARGIN)
    for listed in read_pages(ask, created_before=moment + MARGIN, limit=PAGE_LIMIT):
        yield {each.id for each in listed.items}
        if listed.unreadable:
            raise ProviderUnavailable(f"{listed.unreadable} entries of the list have no readable id")
        if listed.is_last:
            return
    raise ProviderUnavailable(f"the list has more than {PAGE_LIMIT} pages for the time in question")
