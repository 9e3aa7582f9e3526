"""Webhooks are believed only when signed and fresh."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from rushes.errors import Refused
from rushes.wavespeed.answers import WebhookRefused
from rushes.wavespeed.predictions import PredictionStatus
from rushes.wavespeed.webhooks import read_webhook, verify_webhook

SECRET = "whsec_testsecret"
SIGNED_AT = datetime.fromtimestamp(1_700_000_000, UTC)
BODY = b'{"id":"p1","status":"completed"}'
SIGNATURE = "v3,ec78c8006fc7285dcc83f4278cf3fe45c2fcbd25868ebae37c5696fe8d553010"
HEADERS = {"webhook-id": "msg_1", "webhook-timestamp": "1700000000", "webhook-signature": SIGNATURE}


def verify(*, secret: str = SECRET, body: bytes = BODY, now: datetime = SIGNED_AT, **changed: str) -> str:
    headers = {**HEADERS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return verify_webhook(secret=secret, headers=headers, body=body, now=now)


@pytest.mark.parametrize("secret", ["testsecret", "whsec_testsecret"])
def test_the_known_vector_verifies_with_and_without_prefix(secret: str) -> None:
    assert verify(secret=secret) == "msg_1"


def test_header_names_may_have_capitals() -> None:
    headers = {name.title(): value for name, value in HEADERS.items()}
    assert verify_webhook(secret="testsecret", headers=headers, body=BODY, now=SIGNED_AT) == "msg_1"


def test_one_of_several_signatures_is_enough() -> None:
    assert verify(webhook_signature=f"v3,{'0' * 64} {SIGNATURE}") == "msg_1"


@pytest.mark.parametrize("seconds", [-300, -1, 0, 299, 300])
def test_a_webhook_is_fresh_for_300_seconds_either_way(seconds: int) -> None:
    assert verify(now=SIGNED_AT + timedelta(seconds=seconds)) == "msg_1"


@pytest.mark.parametrize("seconds", [-301, 301, 86_400])
def test_an_older_or_future_webhook_is_refused(seconds: int) -> None:
    with pytest.raises(WebhookRefused, match="too old"):
        verify(now=SIGNED_AT + timedelta(seconds=seconds))


def test_the_zone_of_now_does_not_matter() -> None:
    assert verify(now=SIGNED_AT.astimezone(timezone(timedelta(hours=9)))) == "msg_1"


@pytest.mark.parametrize(
    "changed",
    [
        {"secret": "another"},
        {"body": BODY + b"\n"},
        {"webhook_id": "msg_2"},
        {"webhook_timestamp": "1700000001"},
        {"webhook_signature": SIGNATURE.replace("v3,", "v2,")},
        {"webhook_signature": SIGNATURE.removeprefix("v3,")},
        {"webhook_signature": SIGNATURE[:-1]},
        {"webhook_signature": SIGNATURE.upper()},
        {"webhook_signature": "v3,é"},
        {"webhook_signature": "v3,"},
    ],
)
def test_a_change_anywhere_breaks_the_signature(changed: dict[str, str | bytes]) -> None:
    with pytest.raises(WebhookRefused, match="signature does not match"):
        verify(**changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", ["webhook_id", "webhook_timestamp", "webhook_signature"])
def test_a_missing_header_is_refused(missing: str) -> None:
    with pytest.raises(WebhookRefused, match="needs the headers"):
        verify(**{missing: ""})


@pytest.mark.parametrize("stamp", ["soon", "-1700000000", "1.7e9", "1700000000.0", "٣", "9" * 30])
def test_a_timestamp_must_be_unix_seconds(stamp: str) -> None:
    with pytest.raises(WebhookRefused, match="Unix seconds"):
        verify(webhook_timestamp=stamp)


@pytest.mark.parametrize("secret", ["", "whsec_"])
def test_an_empty_secret_is_our_own_mistake(secret: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        verify(secret=secret)


def test_a_body_holds_a_bare_prediction() -> None:
    prediction = read_webhook(BODY)
    assert (prediction.id, prediction.status) == ("p1", PredictionStatus.COMPLETED)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"status": "completed"}', b"\xff"])
def test_a_body_without_a_prediction_is_refused(body: bytes) -> None:
    with pytest.raises(Refused):
        read_webhook(body)
