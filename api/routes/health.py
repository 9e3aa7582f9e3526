"""Whether the service works, and its metrics."""

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from api import examples
from api.access import KeyDep, may_observe
from api.openapi import guards, problems, shows
from api.schemas.health import Alive, Ready, ReadyStatus
from models.db.errors import DatabaseAway
from models.db.shared_reads import SharedRead
from rushes.access.callers import OBSERVE

READY_SECONDS = 3.0
"""Callers give up soon. A database that does not answer by then counts as away."""
METRICS_SECONDS = 5.0
"""Prometheus gives up after ten, unless it is configured otherwise."""

_EXAMPLE = """\
# HELP rushes_workers Worker processes seen in the last 15 seconds.
# TYPE rushes_workers gauge
rushes_workers 3.0
"""
_ANSWER = {
    "description": "The metrics.",
    "content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}},
}

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


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    **guards(OBSERVE, responses={200: _ANSWER}),
)
async def show_metrics(request: Request) -> Response:
    """Everything is read from rows, at most every five seconds: each process of the API answers the same.

    503 if the database is away, or does not answer within five seconds.
    """
    metrics: SharedRead[bytes] = request.app.state.metrics
    try:
        text = await metrics.ask(seconds=METRICS_SECONDS)
    except TimeoutError:
        raise DatabaseAway("the database did not answer in time") from None
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)
