"""One callback: signed, sent, and what comes of each answer."""

import json
from datetime import timedelta

import pytest
from standardwebhooks import Webhook

from models import DisabledReason, Event
from models.db.session import transaction
from rushes.callbacks.endpoints import rotate_endpoint
from rushes.callbacks import deliver as delivering
from rushes.runtime import Runtime
from sandbox.receiver import Call, Receiver, Reply
from tests.support import rows
from tests.support.access import EVERYONE
from tests.support.callbacks import (
    add_endpoint,
    add_events,
    claim,
    create_all,
    get_endpoint_row,
    list_deliveries,
    make_due,
    send,
    send_due,
)


def verify(secret: str, call: Call) -> dict[str, object]:
    """What the public package makes of a callback. Raises if a signature is wrong."""
    verified: dict[str, object] = Webhook(secret).verify(call.body, dict(call.headers))
    return verified


def test_a_callback_is_signed_and_says_what_its_event_says(runtime: Runtime) -> None:
    with Receiver() as receiver:
        endpoint = add_endpoint(runtime, f"{receiver.url}/hook?team=a")
        job_id = add_events(runtime, "job.queued", "job.succeeded")
        create_all(runtime)
        assert send_due(runtime) == 1
    (call,) = receiver.calls
    assert endpoint.secret is not None
    content = verify(endpoint.secret, call)
    (delivery,) = list_deliveries(runtime.sessions)
    assert (call.path, call.webhook_id) == ("/hook?team=a", delivery.webhook_id)
    assert call.headers["content-type"] == "application/json"
    assert (content["type"], delivery.state, delivery.status, delivery.attempts) == ("job.succeeded", "delivered", 200, 1)
    link = f"https://rushes.example/v1/jobs/{job_id}"
    assert content["data"] == {
        "endpoint_id": str(endpoint.row.id),
        "event_id": delivery.event_id,
        "batch_id": None,
        "batch": None,
        "job_id": str(job_id),
        "number": None,
        "state": "succeeded",
        "client_ref": None,
        "metadata": None,
        "error": None,
        "cost": {"held": "0.0000", "spent": "0.0000"},
        "links": {"job": link, "events": f"{link}/events", "video": f"{link}/video"},
    }
    assert json.dumps(content, separators=(",", ":")).encode() == call.body


@pytest.mark.parametrize("status", [199 + 103, 301, 400, 404, 500])
def test_an_answer_that_is_no_success_is_tried_again(runtime: Runtime, status: int) -> None:
    with Receiver(lambda _: Reply(status, b"no", {"Location": "/other"})) as receiver:
        add_endpoint(runtime, receiver.url)
        add_events(runtime, "job.failed")
        create_all(runtime)
        assert send_due(runtime) == 1
        (delivery,) = list_deliveries(runtime.sessions)
        assert (delivery.state, delivery.status, delivery.answer) == ("pending", status, "no")
        receiver.answering = lambda _: 204
        make_due(runtime)
        assert send_due(runtime) == 1
    (delivery,) = list_deliveries(runtime.sessions)
    assert (delivery.state, delivery.attempts, delivery.status) == ("delivered", 2, 204)
    first, second = receiver.calls
    assert (first.webhook_id, first.body) == (second.webhook_id, second.body)
