"""Whether the service works."""

from fastapi import APIRouter, Response

from api import examples
from api.deps import RuntimeDep
from api.openapi import shows
from api.schemas.health import Alive, Ready
from rushes.readiness import check_readiness

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Is the process alive?", responses={200: shows("It is.", examples.ALIVE)})
async def show_health() -> Alive:
    """Touches nothing else; restart the process when this fails."""
    return Alive(status="ok")


@router.get(
    "/readyz",
    summary="Can jobs be accepted?",
    responses={
        200: shows("They can.", examples.READY),
        503: {**shows("They cannot.", examples.NOT_READY), "model": Ready},
    },
)
def show_readiness(runtime: RuntimeDep, response: Response) -> Ready:
    """Ready means that the database is reachable and migrated.

    Jobs are accepted without workers, Redis or the provider; what is told of those is information.
    """
    seen = check_readiness(runtime.sessions)
    response.status_code = 200 if seen.ready else 503
    return Ready.of(seen)
