"""Whether the service works."""

from fastapi import APIRouter, Request, Response

from api import examples
from api.access import KeyDep, may_observe
from api.openapi import problems, shows
from api.schemas.health import Alive, Ready, ReadyStatus

READY_SECONDS = 3.0
"""Callers give up soon. A database that does not answer by then counts as away."""

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Is the process alive?", responses={200: shows("It is.", examples.ALIVE)})
async def show_health() -> Alive:
    """Checks nothing but the process. Restart the process if this fails."""
    return Alive(status="ok")


@router.get(
    "/readyz",
    summary="Can jobs be accepted?",
    openapi_extra={"security": [{}]},  # the key is optional
    responses={
        200: shows("They can.", examples.READY),
        503: {**shows("They cannot.", examples.NOT_READY), "model": Ready | ReadyStatus},
        **problems(401),
    },
)
async def show_readiness(request: Request, response: Response, key: KeyDep) -> Ready | ReadyStatus:
    """Ready means that the database is reachable, migrated, and accepts a write. Without a key only `status` is shown.

    The API accepts jobs without workers, Redis or the provider; their state is reported for information only, to
    callers with the scope `observe`. The answer comes within three seconds, even if the database is frozen.
    """
    seen = await request.app.state.runtime.readiness.ask(seconds=READY_SECONDS)
    response.status_code = 200 if seen.ready else 503
    details = Ready.of(seen)
    if await may_observe(request, key, is_database_away=not seen.reachable):
        return details
    return ReadyStatus(status=details.status)
