"""What a request to follow the feed means: which events, from which id on."""

import asyncio

from sqlalchemy.orm import Session

from api.schemas.events import FeedFollowed, Place
from models import queries
from rushes.access.callers import Caller
from rushes.errors import InvalidInput, Problem, Unavailable
from rushes.events.hub import Hub
from rushes.events.reading import FeedChoice, find_beginning
from rushes.jobs.choosing import find_batch_id

_SETTLE_TRIES, _SETTLE_SECONDS = 50, 0.1


async def begin(
    hub: Hub, asked: FeedFollowed, caller: Caller, *, last_event_id: Place = None
) -> tuple[FeedChoice, int]:
    """Return the chosen events, and the id after which they are read. `last_event_id` wins over `after`.

    Raises `NotFound` for the batch, `InvalidInput` for the place, and `Unavailable`.
    """
    field, place = ("after", asked.after) if last_event_id is None else ("Last-Event-ID", last_event_id)

    def find(session: Session) -> tuple[FeedChoice, int | None]:
        batch_id = find_batch_id(session, asked.batch, caller) if asked.batch else None
        choice = FeedChoice(caller.reach, batch_id, tuple(asked.kinds.split(",")) if asked.kinds else ())
        if place is None:
            return choice, find_beginning(session, choice)
        if isinstance(place, str):  # latest
            return choice, None
        if place > hub.position and place > (last_id := queries.feed.find_last_id(session)):
            words = f"is beyond the end of the feed, {last_id}: the database was put back to an earlier state"
            raise InvalidInput([Problem(field, words)])
        return choice, place

    choice, after = await hub.ask(find)
    return choice, await _find_end(hub) if after is None else after


async def _find_end(hub: Hub) -> int:
    for _ in range(_SETTLE_TRIES):
        if (end := await hub.find_end()) or hub.horizon.is_empty:
            return end
        await asyncio.sleep(_SETTLE_SECONDS)
    raise Unavailable("a transaction that is still open holds back the event feed")
