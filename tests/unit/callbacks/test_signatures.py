"""Signatures of callbacks, verified by the public package."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from rushes.callbacks.signatures import make_secret, sign_headers


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=50)).map(repr), st.uuids())
def test_the_public_package_verifies_what_is_signed(words: str, message: object) -> None:
    old, new = make_secret(), make_secret()
    body = f'{{"words":{len(words)}}}'.encode()
    headers = sign_headers(f"msg_{message}", body, at=int(time.time()), secrets=[new, old])
    for secret in (old, new):
        assert Webhook(secret).verify(body, headers) == {"words": len(words)}
    with pytest.raises(WebhookVerificationError):
        Webhook(make_secret()).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(body + b" ", headers)


def test_a_secret_has_32_random_bytes() -> None:
    secrets = {make_secret() for _ in range(50)}
    assert len(secrets) == 50
    assert {len(each) for each in secrets} == {len("whsec_") + 44}


def test_one_secret_makes_one_signature() -> None:
    headers = sign_headers("msg_1", b"{}", at=1, secrets=["whsec_AAAA"])
    assert headers["webhook-signature"].startswith("v1,")
    assert " " not in headers["webhook-signature"]
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_1", "1")
