"""One callback: signed, sent, and what comes of each answer."""

import json
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select
from standardwebhooks import Webhook, WebhookVerificationError

from models import Delivery, DisabledReason, Event, transitions
from models.db.session import transaction
from rushes.callbacks.endpoints import rotate_endpoint
from rushes.runtime import Runtime
from sandbox.receiver import ReceivedCall, Receiver, ReceiverReply
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


def verify(secret: str, call: ReceivedCall) -> dict[str, object]:
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
    assert (content["type"], delivery.state, delivery.status, delivery.attempts) == (
        "job.succeeded",
        "delivered",
        200,
        1,
    )
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


def test_the_end_of_a_batch_says_how_its_jobs_ended(runtime: Runtime) -> None:
    detail = {"jobs": 2, "states": {"succeeded": 2}, "state": "ended"}
    with Receiver() as receiver:
        add_endpoint(runtime, receiver.url)
        with transaction(runtime.sessions) as session:
            batch_id = rows.insert(session, "batch", name="pilot", job_count=2)
            rows.add_event(session, "batch.ended", batch_id=batch_id, detail=detail)
        create_all(runtime)
        send_due(runtime)
    data = json.loads(receiver.calls[0].body)["data"]
    assert data.items() >= detail.items()
    assert (data["batch_id"], data["batch"]) == (str(batch_id), "pilot")


@pytest.mark.parametrize("status", [301, 302, 400, 404, 500])
def test_an_answer_that_is_no_success_is_tried_again(runtime: Runtime, status: int) -> None:
    with Receiver(lambda _: ReceiverReply(status, b"no", {"Location": "/other"})) as receiver:
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


def test_during_an_overlap_both_secrets_verify(runtime: Runtime) -> None:
    with Receiver() as receiver:
        made = add_endpoint(runtime, receiver.url)
        rotated = rotate_endpoint(runtime.sessions, made.row.id, overlap=timedelta(hours=1), caller=EVERYONE)
        add_events(runtime, "job.failed")
        create_all(runtime)
        send_due(runtime)
        with transaction(runtime.sessions) as session:
            rows.change(session, "endpoint", old_secret_until=-rows.SECOND)
        add_events(runtime, "job.failed")
        create_all(runtime)
        send_due(runtime)
    assert made.secret is not None
    assert rotated.secret is not None
    during, after = receiver.calls
    assert len(during.headers["webhook-signature"].split()) == 2
    for secret, call in ((made.secret, during), (rotated.secret, during), (rotated.secret, after)):
        verify(secret, call)
    with pytest.raises(WebhookVerificationError):
        verify(made.secret, after)


def test_410_disables_the_endpoint_with_an_event(runtime: Runtime) -> None:
    with Receiver(lambda _: 410) as receiver, Receiver() as other:
        gone = add_endpoint(runtime, receiver.url, "job.*").row
        add_endpoint(runtime, other.url, "endpoint.*")
        job_id = add_events(runtime, "job.storing", "job.succeeded")
        create_all(runtime)
        assert send_due(runtime) == 1
        row = get_endpoint_row(runtime.sessions, gone.id)
        assert row.disabled_at is not None
        assert row.disabled_reason == DisabledReason.GONE
        add_events(runtime, "job.retried", job_id=job_id)
        create_all(runtime)
        make_due(runtime)
        assert send_due(runtime) == 1
    assert len(receiver.calls) == 1
    assert json.loads(other.calls[0].body)["data"] == {
        "endpoint_id": str(gone.id),
        "event_id": json.loads(other.calls[0].body)["data"]["event_id"],
        "reason": "gone",
    }
    kept = [(each.kind, each.state) for each in list_deliveries(runtime.sessions) if each.endpoint_id == gone.id]
    assert kept == [("job.storing", "pending"), ("job.succeeded", "pending")]


def fail_once(runtime: Runtime, receiver: Receiver, *, failing_since: timedelta = -rows.SECOND) -> UUID:
    """An endpoint with a delivery that has failed since this time, and fails once more."""
    endpoint = add_endpoint(runtime, receiver.url).row
    add_events(runtime, "job.failed")
    create_all(runtime)
    assert send_due(runtime) == 1
    with transaction(runtime.sessions) as session:
        rows.change(session, "endpoint", failing_since=failing_since)
    make_due(runtime)
    assert send_due(runtime) == 1
    return endpoint.id


def test_an_endpoint_that_fails_for_three_days_is_disabled(runtime: Runtime) -> None:
    with Receiver(lambda _: 503) as receiver:
        almost = fail_once(runtime, receiver, failing_since=-3 * rows.DAY + rows.MINUTE)
        assert get_endpoint_row(runtime.sessions, almost).disabled_at is None
        with transaction(runtime.sessions) as session:
            rows.change(session, "endpoint", failing_since=-3 * rows.DAY)
        make_due(runtime)
        assert send_due(runtime) == 1
        assert get_endpoint_row(runtime.sessions, almost).disabled_reason == DisabledReason.FAILING
    with transaction(runtime.sessions) as session:
        (event,) = session.scalars(select(Event).where(Event.kind == "endpoint.disabled")).all()
    assert (event.detail["endpoint_id"], event.detail["reason"]) == (str(almost), "failing")


def test_a_success_ends_the_failures(runtime: Runtime) -> None:
    with Receiver(lambda _: 503) as receiver:
        endpoint = fail_once(runtime, receiver)
        assert get_endpoint_row(runtime.sessions, endpoint).failures == 2
        receiver.answering = lambda _: 200
        make_due(runtime)
        assert send_due(runtime) == 1
    row = get_endpoint_row(runtime.sessions, endpoint)
    assert (row.failures, row.failing_since, row.held_until) == (0, None, None)


def test_the_last_attempt_is_made_after_three_days_and_the_next_goes_on(runtime: Runtime) -> None:
    with Receiver(lambda _: 500) as receiver:
        add_endpoint(runtime, receiver.url, "job.*")
        add_events(runtime, "job.storing", "job.failed")
        create_all(runtime)
        first, later = list_deliveries(runtime.sessions)
        with transaction(runtime.sessions) as session:
            rows.change(session, "delivery", Delivery.id == first.id, give_up_at=rows.SECOND, attempts=9)
        send_due(runtime)
        first, later = list_deliveries(runtime.sessions)
        assert first.due_at == first.give_up_at
        with transaction(runtime.sessions) as session:
            rows.change(session, "delivery", Delivery.id == first.id, give_up_at=-rows.SECOND, due_at=-rows.SECOND)
        (claimed,) = claim(runtime.sessions)
        assert send(runtime, claimed).startswith("CallbackGivenUp: 500: job.storing to 127.0.0.1")
        receiver.answering = lambda _: 200
        assert send_due(runtime) == 1
    first, later = list_deliveries(runtime.sessions)
    assert (first.state, first.attempts, later.state) == ("failed", 11, "delivered")


@pytest.mark.parametrize("wish", ["120", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_retry_after_holds_the_whole_endpoint_for_an_hour_at_most(runtime: Runtime, wish: str) -> None:
    with Receiver(lambda _: ReceiverReply(429, headers={"Retry-After": wish})) as receiver:
        endpoint = add_endpoint(runtime, receiver.url).row
        add_events(runtime, "job.failed")
        create_all(runtime)
        assert send_due(runtime) == 1
        add_events(runtime, "job.failed")
        create_all(runtime)
        assert send_due(runtime) == 0
    (delivery, _), row = list_deliveries(runtime.sessions), get_endpoint_row(runtime.sessions, endpoint.id)
    assert delivery.attempted_at is not None
    assert delivery.due_at is not None
    assert row.held_until is not None
    least = timedelta(seconds=120) if wish == "120" else timedelta(hours=1)
    for until in (delivery.due_at, row.held_until):
        assert least <= until - delivery.attempted_at <= 1.1 * least + rows.MINUTE


def test_a_private_address_is_not_called(runtime: Runtime) -> None:
    with Receiver() as receiver:
        add_endpoint(runtime, receiver.url)
        strict = Runtime.open(runtime.settings.with_changes(url_allow=""), threads=2, application="test")
        add_events(runtime, "job.failed")
        create_all(runtime)
        (claimed,) = claim(runtime.sessions)
        words = send(strict, claimed)
        strict.close()
        assert receiver.calls == []
    (delivery,) = list_deliveries(runtime.sessions)
    assert words.startswith("CallbackDelayed")
    assert delivery.error is not None
    assert "RUSHES_URL_ALLOW" in delivery.error
    assert (delivery.state, delivery.status, delivery.answer) == ("pending", None, None)


def test_a_worker_that_dies_after_the_post_sends_it_again(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object, **__: object) -> None:
        raise SystemExit

    with Receiver() as receiver:
        add_endpoint(runtime, receiver.url)
        add_events(runtime, "job.failed")
        create_all(runtime)
        (dead,) = claim(runtime.sessions)
        with monkeypatch.context() as patched:
            patched.setattr(transitions.attempts, "record_success", die)
            with pytest.raises(SystemExit):
                send(runtime, dead)
        assert claim(runtime.sessions) == []
        make_due(runtime)
        (again,) = claim(runtime.sessions)
        assert send(runtime, dead).startswith("not sent")
        assert send(runtime, again).startswith("job.failed to 127.0.0.1: 200 in ")
    first, second = receiver.calls
    assert (first.webhook_id, first.body) == (second.webhook_id, second.body)
    assert [each.attempts for each in list_deliveries(runtime.sessions)] == [2]


def test_a_late_outcome_changes_nothing(runtime: Runtime) -> None:
    def lose_the_claim(_: ReceivedCall) -> int:
        make_due(runtime)
        claim(runtime.sessions)
        return 500

    with Receiver(lose_the_claim) as receiver:
        add_endpoint(runtime, receiver.url)
        add_events(runtime, "job.failed")
        create_all(runtime)
        (late,) = claim(runtime.sessions)
        assert send(runtime, late).startswith("recorded by another step: 500")
    (delivery,) = list_deliveries(runtime.sessions)
    assert (delivery.status, delivery.claimed_at is None, delivery.claim) == (None, False, late.claim + 1)


def test_the_largest_body_stays_below_20_kilobytes(runtime: Runtime) -> None:
    metadata = {"words": "\N{PILE OF POO}" * 1_000}
    with Receiver() as receiver:
        add_endpoint(runtime, receiver.url)
        with transaction(runtime.sessions) as session:
            job_id = rows.add_job(
                session,
                "failed",
                client_ref="\N{PILE OF POO}" * 255,
                client_metadata=metadata,
                error_code="provider",
                error_message="\N{PILE OF POO}" * 9_000,
            )
        add_events(runtime, "job.failed", job_id=job_id)
        create_all(runtime)
        send_due(runtime)
    (call,) = receiver.calls
    assert len(call.body) < 20_000
    data = json.loads(call.body)["data"]
    assert (data["metadata"], data["state"], data["error"]["code"]) == (metadata, "failed", "provider")


def test_an_answer_is_kept_to_its_first_kilobyte(runtime: Runtime) -> None:
    with Receiver(lambda _: ReceiverReply(200, b"\0\xff" + b"x" * 5_000)) as receiver:
        add_endpoint(runtime, receiver.url)
        add_events(runtime, "job.failed")
        create_all(runtime)
        send_due(runtime)
    (delivery,) = list_deliveries(runtime.sessions)
    assert delivery.answer == "\N{REPLACEMENT CHARACTER}" * 2 + "x" * 1_022
