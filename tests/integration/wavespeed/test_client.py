"""The provider client against scripted servers: what it sends, and what it makes of what comes back."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from rushes.errors import RushesError, Transient
from rushes.wavespeed.answers import (
    AccountRefused,
    ConcurrencyLimited,
    InputRefused,
    KeyRefused,
    NoCredit,
    PredictionNotFound,
    ProviderUnavailable,
    RateLimited,
    SubmitOutcomeUnknown,
)
from rushes.wavespeed.predictions import PredictionStatus
from tests.support.scripted_provider import KEY, MODEL, TASK, VALUES, check_at, client_of, envelope, submit_to
from tests.support.scripted_server import Peer, answering


def test_a_submit_sends_the_values_the_key_and_the_webhook() -> None:
    hook = "https://rushes.example/hooks?a=1&b=ü"
    with client_of(answering((200, envelope(TASK)))) as (client, server):
        prediction = client.submit(MODEL, VALUES, webhook=hook)
    assert (prediction.id, prediction.status) == (TASK["id"], PredictionStatus.CREATED)
    (request,) = server.requests
    path, _, query = request.target.partition("?")
    assert (request.method, path) == ("POST", f"/api/v3/{MODEL}")
    assert query == "webhook=https%3A%2F%2Frushes.example%2Fhooks%3Fa%3D1%26b%3D%C3%BC"
    assert request.json == VALUES
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["connection"] == "close"


def test_a_submit_without_webhook_has_no_query() -> None:
    with client_of(answering((200, envelope(TASK)))) as (client, server):
        client.submit(MODEL, VALUES)
    assert server.requests[0].target == f"/api/v3/{MODEL}"


@pytest.mark.parametrize("status", [200, 202, 400, 429, 500, 503])
@pytest.mark.parametrize("code", [200, 400, 5004])
def test_a_submit_answered_with_a_task_is_accepted_whatever_the_status(status: int, code: int) -> None:
    assert submit_to(answering((status, envelope(TASK, code)))).id == TASK["id"]


def test_a_bare_task_without_envelope_is_accepted() -> None:
    assert submit_to(answering((500, TASK))).id == TASK["id"]


REFUSALS = [
    (400, "duration must be one of [6, 8, 10]", InputRefused),
    (404, "not found", InputRefused),
    (413, "too large", InputRefused),
    (422, "prompt is required", InputRefused),
    (401, "invalid key", KeyRefused),
    (403, "role viewer may not", KeyRefused),
    (402, "pay first", NoCredit),
    (403, "Insufficient credits, please top up", NoCredit),
    (400, "Insufficient credits, please top up", NoCredit),
    (429, "rate limit exceeded", RateLimited),
    (429, "the concurrency limit of 3 has been reached", ConcurrencyLimited),
    (500, "internal", SubmitOutcomeUnknown),
    (503, "busy", SubmitOutcomeUnknown),
]


@pytest.mark.parametrize(("status", "message", "expected"), REFUSALS)
def test_a_submit_without_task_raises_what_its_status_means(
    status: int, message: str, expected: type[RushesError]
) -> None:
    with pytest.raises(expected, match=message[:6]) as caught:
        submit_to(answering((status, envelope(None, status, message))))
    assert type(caught.value) is expected


@pytest.mark.parametrize(("status", "message", "expected"), REFUSALS)
def test_a_code_in_a_200_means_what_that_status_means(status: int, message: str, expected: type[RushesError]) -> None:
    with pytest.raises(expected) as caught:
        submit_to(answering((200, envelope(None, status, message))))
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502 Bad Gateway</html>",
        b"{",
        b'"text"',
        b"[" * 100_000,
        b'{"code": 200, "message": "success"}',
        b'{"code": 200, "data": {"id": ""}}',
        b'{"code": 200, "data": {"id": "a\\u0000b"}}',
        b'{"code": 200, "data": []}',
        b'{"code": NaN, "data": {"id": "abc"}}',
    ],
)
def test_a_200_without_a_usable_id_is_unconfirmed(body: bytes) -> None:
    with pytest.raises(SubmitOutcomeUnknown):
        submit_to(answering((200, body)))


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_gateways_page_is_no_outcome_on_the_input(status: int) -> None:
    with pytest.raises(SubmitOutcomeUnknown):
        submit_to(answering((status, b"<html>nginx</html>")))


def test_a_429_page_of_a_gateway_still_backs_off_the_account() -> None:
    with pytest.raises(RateLimited):
        submit_to(answering((429, b"<html>slow down</html>")))


def test_a_prompt_that_speaks_of_credit_does_not_stop_the_account() -> None:
    prompt = "a clerk says: insufficient credit"
    script = answering((400, envelope(None, 400, f"prompt not allowed: {prompt}")))
    with client_of(script) as (client, _), pytest.raises(InputRefused):
        client.submit(MODEL, {**VALUES, "prompt": prompt})


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [("7", 7, 7), ("Wed, 01 Jan 2020 00:00:00 GMT", 0, 0), (None, 25, 60)],
    ids=["seconds", "a date gone by", "a date to come"],
)
@pytest.mark.parametrize("name", ["Retry-After", "retry-after"])
def test_retry_after_is_read_in_both_forms(header: str | None, low: int, high: int, name: str) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=60)
    value = header or moment.strftime("%a, %d %b %Y %H:%M:%S GMT")

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.answer(429, envelope(None, 429, "slow down"), **{name: value})

    with pytest.raises(AccountRefused) as caught:
        submit_to(script)
    assert caught.value.retry_after is not None
    assert timedelta(seconds=low) <= caught.value.retry_after <= timedelta(seconds=high)
    assert caught.value.reason == "rate"


def test_an_answer_that_leaves_a_submit_unconfirmed_keeps_its_retry_after() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.answer(503, b"<html>down for maintenance</html>", Retry_After="600")

    with pytest.raises(SubmitOutcomeUnknown) as caught:
        submit_to(script)
    assert caught.value.retry_after == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, envelope(None, 401), KeyRefused),
        (403, envelope(None, 403), KeyRefused),
        (402, envelope(None, 402), NoCredit),
        (429, envelope(None, 429, "concurrency limit reached"), RateLimited),
        (404, envelope(None, 404, "prediction not found"), PredictionNotFound),
        (200, envelope(None, 404, "prediction not found"), PredictionNotFound),
        (200, envelope(None, 401), KeyRefused),
        (404, b"<html>nginx</html>", ProviderUnavailable),
        (400, envelope(None, 400, "bad"), ProviderUnavailable),
        (500, envelope(None, 500), ProviderUnavailable),
        (502, b"<html>", ProviderUnavailable),
        (200, b"<html>", ProviderUnavailable),
        (200, b"", ProviderUnavailable),
        (200, envelope(None), ProviderUnavailable),
        (200, envelope({"id": TASK["id"]}), ProviderUnavailable),
        (200, envelope({**TASK, "id": "another"}), ProviderUnavailable),
        (500, envelope({**TASK, "status": "error"}), ProviderUnavailable),
    ],
)
def test_a_check_raises_what_the_answer_means(status: int, body: object, expected: type[RushesError]) -> None:
    with pytest.raises(expected) as caught:
        check_at(answering((status, body)))
    assert type(caught.value) is expected
    assert isinstance(caught.value, Transient)


@pytest.mark.parametrize(("status", "code"), [(200, 200), (200, 5004), (500, 500), (404, 404)])
def test_a_check_that_returns_the_prediction_is_good_whatever_the_status(status: int, code: int) -> None:
    found = check_at(answering((status, envelope({**TASK, "status": "failed", "error": "moderation"}, code))))
    assert (found.status, found.error) == (PredictionStatus.FAILED, "moderation")


def test_a_check_keeps_a_status_that_nobody_knows() -> None:
    found = check_at(answering((200, envelope({**TASK, "status": "Archived"}))))
    assert (found.status, found.status_text, found.is_terminal) == (PredictionStatus.UNKNOWN, "Archived", False)


def test_a_prediction_id_cannot_leave_its_place_in_the_path() -> None:
    with client_of(answering((404, envelope(None, 404)))) as (client, server), pytest.raises(PredictionNotFound):
        client.get_prediction("../../delete?x=1#y")
    assert server.requests[0].target == "/api/v3/predictions/..%2F..%2Fdelete%3Fx%3D1%23y/result"


def test_a_page_is_asked_for_with_its_window_and_read_item_by_item() -> None:
    items = [{**TASK, "inputs": VALUES, "created_at": "2026-11-20T10:00:00.123456789Z"}, {"status": "lost"}, None]
    after = datetime(2026, 11, 20, 9, 59, 59, 123_456, tzinfo=UTC)
    with client_of(answering((200, envelope({"page": 2, "items": items})))) as (client, server):
        page = client.list_predictions(
            page=2,
            page_size=3,
            created_after=after,
            created_before=after + timedelta(seconds=2),
            include_inputs=True,
        )
    assert server.requests[0].target == "/api/v3/predictions"
    assert server.requests[0].json == {
        "page": 2,
        "page_size": 3,
        "created_after": "2026-11-20T09:59:59.123Z",
        "created_before": "2026-11-20T10:00:01.124Z",
        "include_inputs": True,
    }
    assert (page.unreadable, page.is_last) == (2, False)
    assert [item.inputs for item in page.items] == [VALUES]
    assert page.items[0].created_at == datetime(2026, 11, 20, 10, 0, 0, 123_456, tzinfo=UTC)


def test_an_empty_page_may_be_null_and_is_the_last() -> None:
    with client_of(answering((200, envelope({"page": 1, "items": None})))) as (client, server):
        page = client.list_predictions()
    assert (page.items, page.unreadable, page.is_last) == ((), 0, True)
    assert server.requests[0].json == {"page": 1, "page_size": 100}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, envelope(None), ProviderUnavailable),
        (200, envelope({"page": 1}), ProviderUnavailable),
        (200, envelope({"items": {}}), ProviderUnavailable),
        (404, envelope(None, 404), ProviderUnavailable),
        (401, envelope(None, 401), KeyRefused),
    ],
)
def test_a_page_that_is_none_is_never_taken_for_an_empty_one(
    status: int, body: object, expected: type[RushesError]
) -> None:
    with client_of(answering((status, body))) as (client, _), pytest.raises(expected):
        client.list_predictions()


def test_money_is_exact() -> None:
    script = answering((200, b'{"code": 200, "data": {"balance": 12.340000000000000001}}'))
    with client_of(script) as (client, server):
        assert client.get_balance() == Decimal("12.340000000000000001")
    assert (server.requests[0].method, server.requests[0].target) == ("GET", "/api/v3/balance")


@pytest.mark.parametrize("balance", ["null", "true", '"much"', "[]", "1e999999999999999999999"])
def test_a_balance_that_is_no_number_is_no_answer(balance: str) -> None:
    body = f'{{"code": 200, "data": {{"balance": {balance}}}}}'.encode()
    with client_of(answering((200, body))) as (client, _), pytest.raises(ProviderUnavailable):
        client.get_balance()


def test_the_webhook_secret_is_read() -> None:
    with client_of(answering((200, envelope({"secret": "whsec_abc"})))) as (client, server):
        assert client.get_webhook_secret() == "whsec_abc"
    assert server.requests[0].target == "/api/v3/webhook/secret"
