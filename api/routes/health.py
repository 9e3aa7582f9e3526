"""Whether the service works."""

from fastapi import APIRouter, Response

from api import examples
from api.deps import RuntimeDep
from api.openapi import shows
from api.schemas.health import Alive, Ready

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
    responses={
        200: shows("They can.", examples.READY),
        503: {**shows("They cannot.", examples.NOT_READY), "model": Ready},
    },
)
async def show_readiness(runtime: RuntimeDep, response: Response) -> Ready:
    """Ready means that the database is reachable, migrated, and accepts a write.

    The API accepts jobs without workers, Redis or the provider; their state is reported for information only. The
    answer comes within three seconds, even if the database is frozen.
    """
    seen = await runtime.readiness.ask(seconds=READY_SECONDS)
    response.status_code = 200 if seen.ready else 503
    return Ready.of(seen)
