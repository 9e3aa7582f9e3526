"""Deliveries: what was sent to endpoints, and how they answered."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api import examples
from api.access import CallerDep
from api.deps import RuntimeDep
from api.idempotency import Made, OnceDep
from api.openapi import answers
from api.schemas.callbacks.deliveries import DeliveriesAsked, DeliveryPage, DeliveryShown
from models.db.session import Sessions
from rushes.access.callers import CHANGE_ENDPOINT, READ
from rushes.callbacks import deliveries

router = APIRouter(prefix="/v1/deliveries", tags=["callbacks"])

DELIVERY: examples.Json = {
    "id": "msg_5f1d9c0a7c0f4d3f9c1b2a3d4e5f6a7b",
    "endpoint_id": "019a2b3c-4d5e-7f60-8123-456789abcdf0",
    "event_id": 48213,
    "job_id": examples.JOB_ID,
    "kind": "job.succeeded",
    "state": "pending",
    "attempts": 1,
    "created_at": "2026-11-05T12:30:00.004120Z",
    "ended_at": None,
    "next_attempt_at": "2026-11-05T12:30:05.310000Z",
    "attempted_at": "2026-11-05T12:30:00.220000Z",
    "status": 500,
    "milliseconds": 41,
    "answer": "Internal Server Error",
    "error": None,
}
_PAGE: examples.Json = {"items": [DELIVERY], "next_cursor": None}

DeliveryId = Annotated[str, Path(description="The header `webhook-id`.", pattern="^[!-~]+$", examples=[DELIVERY["id"]])]


@router.get("", summary="List deliveries", **answers(READ, 200, "A page of deliveries.", _PAGE, 404, 422))
def list_all(asked: Annotated[DeliveriesAsked, Query()], runtime: RuntimeDep, caller: CallerDep) -> DeliveryPage:
    """Deliveries, newest first. They are kept for 14 days after their end."""
    page = deliveries.list_deliveries(
        runtime.sessions,
        caller,
        endpoint_id=asked.endpoint_id,
        job=asked.job,
        state=asked.state,
        page=(asked.limit, asked.cursor or None),
    )
    return DeliveryPage.of(page, DeliveryShown.of)


@router.get("/{delivery_id}", summary="Show a delivery", **answers(READ, 200, "The delivery.", DELIVERY, 404, 422))
def show(delivery_id: DeliveryId, runtime: RuntimeDep, caller: CallerDep) -> DeliveryShown:
    """One delivery, and the answer to its last attempt."""
    return DeliveryShown.of(deliveries.get_delivery(runtime.sessions, delivery_id, caller=caller))


@router.post(
    "/{delivery_id}/resend",
    summary="Send a callback again",
    response_model=DeliveryShown,
    **answers(CHANGE_ENDPOINT, 202, "The delivery.", DELIVERY, 404, 409, 422),
)
def resend(delivery_id: DeliveryId, once: OnceDep) -> Response:
    """Send it at once with the same `webhook-id`, whatever became of it. Its retries start again.

    409 if it is being sent now, or if its endpoint is disabled.
    """

    def make(sessions: Sessions) -> Made:
        settings = once.runtime.settings
        return Made(
            DeliveryShown.of(deliveries.resend_delivery(sessions, settings, delivery_id, caller=once.caller)), 202
        )

    return once.answer(make)
