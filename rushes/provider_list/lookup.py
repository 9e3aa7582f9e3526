"""Look up in the provider's list a prediction that its result page does not know.

The list must belong to the account in our rows, and not to another account's key. Control predictions are predictions
of ours that were accepted shortly before the one in question, so under the same key. If the list shows none of them,
the absence of any other prediction proves nothing.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog

from models import queries, transitions
from models.db.session import transaction
from models.queries.reconciling import ControlPrediction
from rushes.errors import Transient
from rushes.provider_list.paging import CountedLists, read_pages
from rushes.runtime import Runtime

MARGIN = timedelta(minutes=1)
"""Margin on both sides of the provider's own time, by which it lists."""
WIDE_MARGIN = timedelta(minutes=10)
"""Margin on both sides of our time: clocks differ."""
PAGE_LIMIT = 100
ADVICE = "the provider's list shows no prediction that was accepted before it: is this the key of another account?"
LIST_LAG = timedelta(seconds=60)
"""Later control predictions count only after the list has had this time to show them."""

log = structlog.get_logger(__name__)


class ForeignList(Transient):
    """The list shows none of the control predictions: it decides nothing."""


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


def is_ours(controls: Sequence[ControlPrediction], listed: Collection[str]) -> bool:
    """Whether the list shows a control prediction. Later ones count only if there are no earlier ones: the key may have
    changed.

    True if there is no control prediction at all: nothing contradicts it.
    """
    earlier = [each for each in controls if each.is_earlier]
    return not controls or any(each.provider_id in listed for each in earlier or controls)


def find_controls(
    runtime: Runtime, account_id: UUID, prediction_id: UUID, *, created_at: datetime
) -> list[ControlPrediction]:
    """Return the control predictions for a prediction that the provider seems to have lost."""
    with transaction(runtime.sessions) as session:
        until = queries.health.read_clock(session) - LIST_LAG
        return queries.reconciling.list_controls(session, account_id, {prediction_id: created_at}, until=until)


def log_foreign_list(runtime: Runtime, account_id: UUID, ids: Sequence[UUID], *, once: bool = True) -> None:
    """Record for each prediction why it is undecided, and log an error; with `once` only if one is newly recorded."""
    with transaction(runtime.sessions) as session:
        noted = transitions.runs.note_undecided(session, ids, code="foreign_list", message=ADVICE)
    if noted or not once:
        log.error("account.foreign_list", account_id=str(account_id), undecided=len(ids), advice=ADVICE)
