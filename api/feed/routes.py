"""The event feed: in pages, by long polling, and as a stream."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse

from api.access import CallerDep
from api.deps import LinksDep
from api.feed import examples
from api.feed.following import begin
from api.middleware import ALLOW
from api.openapi import answers, guards
from api.schemas.events import FeedAsked, FeedFollowed, FeedItem, FeedShown, Place
from api.schemas.jobs import Links
from models.queries.events.feed import FeedEvent, FeedFilter
from rushes.access.callers import READ, Caller
from rushes.events.hub import Hub
from rushes.events.reading import read_feed

router = APIRouter(prefix="/v1/events", tags=["events"])

BEAT_SECONDS = 10.0
"""A stream sends at least a comment this often, so that nobody on the way takes it for dead."""
RECONNECT_MILLISECONDS = 2000
_ENCODED: dict[tuple[int, datetime, str], bytes] = {}
"""The last items as they are streamed, by id, time and the client's address of this API: encoded once for everybody."""
_MOST_ENCODED = 2_000
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


async def get_hub(request: Request) -> Hub:
    """Return the hub of this process."""
    hub: Hub = request.app.state.hub
    return hub


HubDep = Annotated[Hub, Depends(get_hub)]


@router.get("", summary="Read the event feed", **answers(READ, 200, "Events.", examples.FEED, 404, 422))
async def read(
    *, asked: Annotated[FeedAsked, Query()], request: Request, hub: HubDep, links: LinksDep, caller: CallerDep
) -> FeedShown:
    """What happened to jobs and batches, in the order of the ids. Pass `cursor` as `after` to read on.

    A reader that goes on from its cursor gets every event once: the feed stops before events that a transaction may
    still add. The events of one job come in the order in which they happened. With `wait`, the request is answered as
    soon as there is an event.
    """
    choice, after = await begin(hub, asked, caller)
    if asked.wait:
        hub.require_room()
        request.scope[ALLOW](asked.wait)
        return await _wait(hub, choice, after, asked=asked, caller=caller, links=links)
    until = await hub.find_end()
    page = await hub.ask(partial(read_feed, choice=choice, after=after, until=until, limit=asked.limit))
    return _show(page.items, page.cursor, links, more=page.has_more)


async def _wait(
    hub: Hub, choice: FeedFilter, after: int, *, asked: FeedAsked, caller: Caller, links: Links
) -> FeedShown:
    clock = asyncio.get_running_loop().time
    ends_at, events = clock() + asked.wait, list[FeedEvent]()
    with hub.listen(choice, after=after, key_id=caller.key_id) as listener:
        while not events and not listener.is_over and (left := ends_at - clock()) > 0:
            events = await listener.take(left)
    if len(events) > asked.limit:
        events = events[: asked.limit]
        return _show(events, events[-1].id, links, more=True)
    return _show(events, listener.cursor, links, more=listener.cursor < hub.position)


def _show(events: Sequence[FeedEvent], cursor: int, links: Links, *, more: bool) -> FeedShown:
    return FeedShown(items=[FeedItem.of(each, links) for each in events], cursor=cursor, more=more)


@router.get(
    "/stream",
    summary="Stream the event feed",
    response_class=StreamingResponse,
    **guards(
        READ,
        404,
        422,
        responses={
            200: {
                "description": "Server-Sent Events. It ends only with its key, or with the process.",
                "content": {"text/event-stream": {"schema": {"type": "string"}, "example": examples.STREAM}},
            }
        },
    ),
)
async def stream(
    *,
    asked: Annotated[FeedFollowed, Query()],
    hub: HubDep,
    links: LinksDep,
    caller: CallerDep,
    last_event_id: Annotated[Place, Header(description="Where to go on. It wins over `after`.")] = None,
) -> StreamingResponse:
    """The same as Server-Sent Events: `id`, `event` (the kind) and `data` (the item).

    After a break, send the last `id` as `Last-Event-ID`: nothing is missed. A comment comes at least every 15 seconds,
    with an `id` that also moves over events that do not match.
    """
    hub.require_room()
    choice, after = await begin(hub, asked, caller, last_event_id=last_event_id)
    chunks = _follow(hub, choice, after, caller=caller, links=links)
    return StreamingResponse(chunks, media_type="text/event-stream", headers=_HEADERS)


async def _follow(hub: Hub, choice: FeedFilter, after: int, *, caller: Caller, links: Links) -> AsyncIterator[bytes]:
    yield f": connected\nretry: {RECONNECT_MILLISECONDS}\nid: {after}\n\n".encode()
    with hub.listen(choice, after=after, key_id=caller.key_id) as listener:
        while not listener.is_over:
            events = await listener.take(BEAT_SECONDS)
            yield b"".join(_encode(each, links) for each in events) or f": beat\nid: {listener.cursor}\n\n".encode()


def _encode(event: FeedEvent, links: Links) -> bytes:
    key = event.id, event.at, links.root
    if key not in _ENCODED:
        if len(_ENCODED) >= _MOST_ENCODED:
            _ENCODED.clear()
        item = FeedItem.of(event, links).model_dump_json()
        _ENCODED[key] = f"id: {event.id}\nevent: {event.kind}\ndata: {item}\n\n".encode()
    return _ENCODED[key]
