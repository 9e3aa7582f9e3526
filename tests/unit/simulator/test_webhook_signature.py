"""The signature of callbacks, against a vector that was computed apart from this code."""

import base64
import hashlib
import hmac

from sandbox.wavespeed.webhooks import make_secret, sign

BODY = b'{"id":"p1","status":"completed"}'
EXPECTED = "ec78c8006fc7285dcc83f4278cf3fe45c2fcbd25868ebae37c5696fe8d553010"


def test_a_signature_equals_the_provider_s_test_vector() -> None:
    assert sign("testsecret", webhook_id="msg_1", timestamp="1700000000", body=BODY) == EXPECTED


def test_the_prefix_of_a_secret_is_not_part_of_the_key() -> None:
    assert sign("whsec_testsecret", webhook_id="msg_1", timestamp="1700000000", body=BODY) == EXPECTED


def test_a_secret_is_used_as_text_although_it_resembles_base64() -> None:
    secret = make_secret("key")
    text = secret.removeprefix("whsec_")
    assert len(base64.b64decode(text, validate=True)) == 32
    expected = hmac.new(text.encode(), b"i.1." + BODY, hashlib.sha256).hexdigest()
    assert sign(secret, webhook_id="i", timestamp="1", body=BODY) == expected


def test_secrets_are_stable_and_differ_by_key() -> None:
    assert make_secret("one") == make_secret("one") != make_secret("two")
    assert "one" not in make_secret("one")
