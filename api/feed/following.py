"""What a request to follow the feed means: which events, from which id on."""

import asyncio

from sqlalchemy.orm import Session

from api.schemas.events import FeedFollowed, Place
from models import queries
from models.queries.events.feed import FeedFilter
from rushes.access.callers import Caller
from rushes.errors import InvalidInput, Problem, Unavailable
from rushes.events.hub import Hub
from rushes.events.reading import find_beginning
from rushes.jobs.choosing import find_batch_id

_SETTLE_TRIES, _SETTLE_SECONDS = 50, 0.1


async def begin(
    hub: Hub, asked: FeedFollowed, caller: Caller, *, last_event_id: Place = None
) -> tuple[FeedFilter, int]:
    """Return the chosen events, and the id after which they are read. `last_event_id` wins over `after`.

    That is never before the beginning of these events: a tenant must not walk through those of others. Raises
    `NotFound` for the batch, `InvalidInput` for the place, and `Unavailable`.
    """
    field, place = ("after", asked.after) if last_event_id is None else ("Last-Event-ID", last_event_id)

    def find(session: Session) -> tuple[FeedFilter, int | None]:
        batch_id = find_batch_id(session, asked.batch, caller) if asked.batch else None
        choice = FeedFilter(caller.reach, batch_id, tuple(asked.kinds.split(",")) if asked.kinds else ())
        if isinstance(place, str):  # latest
            return choice, None
        least = place or 0
        if least > hub.position and least > (last_id := queries.feed.find_last_id(session)):
            words = f"is beyond the end of the feed, {last_id}: the database was put back to an earlier state"
            raise InvalidInput([Problem(field, words)])
        beginning = find_beginning(session, choice)
        return choice, None if beginning is None else max(least, beginning)

    choice, after = await hub.ask(find)
    if after is not None:
        return choice, after
    end = await _find_end(hub)
    if not isinstance(place, str):
        choice, after = await hub.ask(find)  # again: what was pushed before the end was asked for is seen now
        end = max(end, place or 0)
    return choice, end if after is None else after


async def _find_end(hub: Hub) -> int:
    for _ in range(_SETTLE_TRIES):
        if (end := await hub.find_end()) or hub.horizon.is_empty:
            return end
        await asyncio.sleep(_SETTLE_SECONDS)
    raise Unavailable("a transaction that is still open holds back the event feed")
