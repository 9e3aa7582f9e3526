"""Endpoints: where a tenant's callbacks go."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Response

from api import examples
from api.access import CallerDep
from api.deps import JOB_BYTES, RuntimeDep, body_of
from api.idempotency import Made, Once, OnceDep
from api.openapi import BODY_ERRORS, answers, takes
from api.routes.callbacks.deliveries import DELIVERY
from api.schemas.callbacks import endpoints as schemas
from api.schemas.callbacks.deliveries import DeliveryShown
from models.db.session import Sessions
from rushes.access.callers import ADD_ENDPOINT, CHANGE_ENDPOINT, READ
from rushes.callbacks import endpoints
from rushes.jobs.views import Page

router = APIRouter(prefix="/v1/endpoints", tags=["callbacks"])

ENDPOINT: examples.Json = {
    "id": "019a2b3c-4d5e-7f60-8123-456789abcdf0",
    "tenant": "acme",
    "url": "https://acme.example/hooks/rushes",
    "kinds": ["job.succeeded", "job.failed", "job.cancelled", "batch.ended"],
    "created_at": "2026-11-05T12:00:00.000000Z",
    "disabled_at": None,
    "disabled_reason": None,
    "failures": 0,
    "failing_since": None,
    "old_secret_until": None,
}
_MADE: examples.Json = {**ENDPOINT, "secret": "whsec_..."}
_PAGE: examples.Json = {"items": [ENDPOINT], "next_cursor": None}
_NEW: examples.Json = {"url": ENDPOINT["url"], "kinds": ["job.*"]}

EndpointBody = Annotated[schemas.NewEndpointAsked, Depends(body_of(schemas.NewEndpointAsked, limit_bytes=JOB_BYTES))]
RotationBody = Annotated[schemas.SecretRotation, Depends(body_of(schemas.SecretRotation, limit_bytes=JOB_BYTES))]
EndpointId = Annotated[UUID, Path(description="The endpoint's id.", examples=[ENDPOINT["id"]])]
Switch = Annotated[Literal["disable", "enable"], Path(description="What to do.")]


@router.get("", summary="List endpoints", **answers(READ, 200, "The endpoints.", _PAGE))
def list_all(runtime: RuntimeDep, caller: CallerDep) -> schemas.EndpointPage:
    """Endpoints, oldest first. Nobody can read their secrets again."""
    page: Page[endpoints.EndpointView, int] = Page(endpoints.list_endpoints(runtime.sessions, caller), None)
    return schemas.EndpointPage.of(page, schemas.EndpointShown.of)


@router.post(
    "",
    summary="Create an endpoint",
    response_model=schemas.EndpointMade,
    **answers(ADD_ENDPOINT, 201, "The endpoint. Its secret is shown only now.", _MADE, *BODY_ERRORS, 409),
    openapi_extra=takes(schemas.NewEndpointAsked, every_ending={"url": ENDPOINT["url"]}, all_of_jobs=_NEW),
)
def create(new: EndpointBody, once: OnceDep) -> Response:
    """Get the events of the key's tenant from now on, as callbacks that follow Standard Webhooks.

    A tenant has at most 20 endpoints. Answer a callback with 2xx within 15 seconds, and repetitions too: they have the
    same `webhook-id`. 410 disables the endpoint; any other answer is tried again for 3 days.
    """
    settings = once.runtime.settings
    create_one = partial(endpoints.create_endpoint, settings=settings, url=new.url, kinds=new.kinds, caller=once.caller)
    return _show_once(once, create_one)


def _show_once(once: Once, make: Callable[[Sessions], endpoints.EndpointView]) -> Response:
    """Answer with a new secret. It is not kept for a repeated answer."""
    secret = frozenset({"secret"})
    answer = once.answer(lambda sessions: Made(schemas.EndpointMade.of(make(sessions)), 201), secret=secret)
    answer.headers["Cache-Control"] = "no-store"
    return answer


@router.get("/{endpoint_id}", summary="Show an endpoint", **answers(READ, 200, "The endpoint.", ENDPOINT, 404, 422))
def show(endpoint_id: EndpointId, runtime: RuntimeDep, caller: CallerDep) -> schemas.EndpointShown:
    """One endpoint, and how its receiver has answered lately."""
    return schemas.EndpointShown.of(endpoints.get_endpoint(runtime.sessions, endpoint_id, caller=caller))


@router.post(
    "/{endpoint_id}/rotate",
    summary="Rotate a secret",
    response_model=schemas.EndpointMade,
    **answers(CHANGE_ENDPOINT, 201, "The endpoint. Its new secret is shown only now.", _MADE, *BODY_ERRORS, 404, 409),
    openapi_extra=takes(schemas.SecretRotation, within_a_day={}, at_once={"overlap": 0}),
)
def rotate(*, endpoint_id: EndpointId, asked: RotationBody, once: OnceDep) -> Response:
    """Make a new secret. Callbacks have a signature by each of the two for 24 hours, or for `overlap`.

    409 if such an overlap runs, unless the new one is 0: that ends both old secrets at once.
    """
    overlap = timedelta(seconds=asked.overlap)
    make = partial(endpoints.rotate_endpoint, endpoint_id=endpoint_id, overlap=overlap, caller=once.caller)
    return _show_once(once, make)


@router.post(
    "/{endpoint_id}/test",
    summary="Send a test",
    response_model=DeliveryShown,
    **answers(CHANGE_ENDPOINT, 202, "The delivery.", {**DELIVERY, "kind": "endpoint.test"}, 404, 409, 422),
)
def test(endpoint_id: EndpointId, once: OnceDep) -> Response:
    """Send a callback of the kind `endpoint.test` at once. 409 if the endpoint is disabled."""

    def make(sessions: Sessions) -> Made:
        delivery = endpoints.test_endpoint(sessions, once.runtime.settings, endpoint_id, caller=once.caller)
        return Made(DeliveryShown.of(delivery), 202)

    return once.answer(make)


@router.post(
    "/{endpoint_id}/{change}",
    summary="Disable or enable an endpoint",
    **answers(CHANGE_ENDPOINT, 200, "The endpoint.", ENDPOINT, 404, 409, 422),
)
def switch(*, endpoint_id: EndpointId, change: Switch, runtime: RuntimeDep, caller: CallerDep) -> schemas.EndpointShown:
    """Send it nothing, or send what is pending and what happens from now on. 409 if that is so already.

    A disabled endpoint keeps its pending callbacks for 3 days. It does not get the events that happen meanwhile.
    """
    is_enabled = change == "enable"
    view = endpoints.switch_endpoint(runtime.sessions, endpoint_id, is_enabled=is_enabled, caller=caller)
    runtime.waker.wake()
    return schemas.EndpointShown.of(view)


@router.delete(
    "/{endpoint_id}",
    summary="Delete an endpoint",
    **answers(CHANGE_ENDPOINT, 200, "The endpoint as it was.", ENDPOINT, 404, 422),
)
def delete(endpoint_id: EndpointId, runtime: RuntimeDep, caller: CallerDep) -> schemas.EndpointShown:
    """Send it nothing more. Its deliveries are deleted too."""
    return schemas.EndpointShown.of(endpoints.delete_endpoint(runtime.sessions, endpoint_id, caller=caller))
