"""Reads of the event feed in pages, each of bounded cost."""

from typing import NamedTuple

from sqlalchemy.orm import Session

from models import queries
from models.queries.events.feed import FeedEvent, FeedFilter

SCANNED_EVENTS = 20_000
"""A page scans at most this many events, whoever they belong to."""
SMALL_BATCH_JOBS = 2_000
"""The events of a batch of at most this size are found by its jobs, without a scan."""


class FeedPage(NamedTuple):
    """A part of the feed. All chosen events up to `cursor` have been seen then."""

    items: list[FeedEvent]
    cursor: int
    has_more: bool


def read_feed(session: Session, choice: FeedFilter, *, after: int, until: int, limit: int) -> FeedPage:
    """Read chosen events with ids above `after`, up to `until`, which must not be beyond the end of the feed."""
    if choice.batch_id is not None and queries.feed.count_jobs(session, choice.batch_id) <= SMALL_BATCH_JOBS:
        end = until
        items = queries.feed.list_batch_feed(session, after=after, until=end, limit=limit, chosen=choice)
    else:
        end = queries.feed.find_scan_end(session, after=after, until=until, most=SCANNED_EVENTS)
        items = queries.feed.list_feed(session, after=after, until=end, limit=limit, chosen=choice)
    if len(items) == limit:
        return FeedPage(items, items[-1].id, has_more=True)
    return FeedPage(items, max(after, end), has_more=end < until)


def find_beginning(session: Session, choice: FeedFilter) -> int | None:
    """Return the id after which the events of a batch, or of a tenant, begin; None before the first one."""
    first = queries.feed.find_first_id(session, tenant_id=choice.tenant_id, batch_id=choice.batch_id)
    return None if first is None else first - 1
