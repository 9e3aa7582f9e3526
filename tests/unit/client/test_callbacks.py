"""Callbacks are believed only with a fresh, correct signature."""

import base64
import hmac
import json
from collections.abc import Mapping

import pytest

from rushes_client import InvalidCallback, verify_callback

NOW = 1_800_000_000
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret, 24 bytes").decode()
BODY = json.dumps({"type": "job.succeeded", "timestamp": "2027-01-15T08:00:00Z", "data": {"id": "x"}}).encode()


def sign(body: bytes = BODY, *, secret: str = SECRET, at: int = NOW, name: str = "msg_1") -> dict[str, str]:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = hmac.digest(key, f"{name}.{at}.".encode() + body, "sha256")
    return {
        "Webhook-Id": name,
        "Webhook-Timestamp": str(at),
        "Webhook-Signature": f"v1,{base64.b64encode(signature).decode()}",
    }


def test_a_signed_callback_says_what_happened() -> None:
    callback = verify_callback(BODY, sign(), SECRET, now=NOW + 100)
    assert (callback.id, callback.type, callback.data) == ("msg_1", "job.succeeded", {"id": "x"})


def test_one_of_two_signatures_is_enough_during_a_rotation() -> None:
    both = sign() | {"Webhook-Signature": f"{sign(secret=OTHER)['Webhook-Signature']} {sign()['Webhook-Signature']}"}
    assert verify_callback(BODY, both, SECRET, now=NOW).id == "msg_1"


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (BODY, sign(secret=OTHER), "signature"),
        (BODY + b" ", sign(), "signature"),
        (BODY, sign() | {"Webhook-Id": "msg_2"}, "signature"),
        (BODY, sign() | {"Webhook-Signature": "v1,ü garbage v1a,AAAA"}, "signature"),
        (BODY, sign() | {"Webhook-Signature": ""}, "signature"),
        (BODY, sign(at=NOW - 301), "too old"),
        (BODY, sign(at=NOW + 301), "too old"),
        (BODY, sign() | {"Webhook-Timestamp": "soon"}, "webhook-timestamp"),
        (BODY, sign() | {"Webhook-Timestamp": "9" * 400}, "webhook-timestamp"),
        (BODY, {}, "webhook-id"),
        (b"\xff", sign(b"\xff"), "not a callback"),
        (b"[1]", sign(b"[1]"), "not a callback"),
    ],
)
def test_anything_else_is_refused(body: bytes, headers: Mapping[str, str], said: str) -> None:
    with pytest.raises(InvalidCallback, match=said):
        verify_callback(body, headers, SECRET, now=NOW)


def test_a_secret_that_is_none_is_named() -> None:
    with pytest.raises(InvalidCallback, match="whsec_"):
        verify_callback(BODY, sign(), "not base64!", now=NOW)
