"""A webhook's token names its prediction and job, and nobody else can make one."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.wavespeed.callback_urls import HookAddresses, make_token, read_address, read_token

SECRET = bytes(range(32))
PREDICTION, JOB = UUID(int=1), UUID(int=2)
TOKEN = make_token(PREDICTION, JOB, secret=SECRET)


@given(prediction=st.uuids(), job=st.uuids(), secret=st.binary(min_size=1, max_size=64))
def test_a_token_names_its_prediction_and_job_and_needs_no_escaping(prediction: UUID, job: UUID, secret: bytes) -> None:
    token = make_token(prediction, job, secret=secret)
    assert read_token(token, secret=secret) == (prediction, job)
    assert (len(token), quote(token, safe="")) == (64, token)


def test_the_known_token_holds_its_ids_and_their_signature() -> None:
    named = PREDICTION.bytes + JOB.bytes
    signature = hmac.new(SECRET, named, hashlib.sha256).digest()[:16]
    assert urlsafe_b64encode(named + signature).decode() == TOKEN


@given(place=st.integers(0, 63), other=st.sampled_from("AZaz09_-"))
def test_a_token_with_one_other_character_is_none(place: int, other: str) -> None:
    changed = TOKEN[:place] + other + TOKEN[place + 1 :]
    assert (read_token(changed, secret=SECRET) is None) == (changed != TOKEN)


@pytest.mark.parametrize("wrong", ["", "x", TOKEN[:-1], f"{TOKEN}A", f"{TOKEN}=", f"{TOKEN}\n", "é" * 64, "=" * 64])
def test_a_text_without_the_shape_of_a_token_is_no_token(wrong: str) -> None:
    assert read_token(wrong, secret=SECRET) is None


def test_a_token_of_another_account_is_none() -> None:
    assert read_token(TOKEN, secret=SECRET[::-1]) is None


def test_an_empty_secret_signs_no_token() -> None:
    with pytest.raises(ValueError, match="empty"):
        make_token(PREDICTION, JOB, secret=b"")
    with pytest.raises(ValueError, match="empty"):
        read_token(TOKEN, secret=b"")


@pytest.mark.parametrize("public", ["https://rushes.example", "https://rushes.example/", "http://h:1/farm/"])
def test_the_address_is_below_the_public_url_and_is_not_shown(public: str) -> None:
    addresses = HookAddresses(public, SECRET)
    assert addresses.make(PREDICTION, JOB) == f"{public.rstrip('/')}/v1/hooks/wavespeed/{TOKEN}"
    assert "secret" not in repr(addresses)


@pytest.mark.parametrize("public", ["https://rushes.example", "http://h:1/farm/"])
@pytest.mark.parametrize("shown", ["{}", "{}?a=b", "{}#c"])
def test_an_address_is_read_back_whatever_its_host(public: str, shown: str) -> None:
    address = shown.format(HookAddresses(public, SECRET).make(PREDICTION, JOB))
    assert read_address(address, secret=SECRET) == (PREDICTION, JOB)
    assert read_address(quote(address, safe="?#"), secret=SECRET) == (PREDICTION, JOB)
    assert read_address(address, secret=SECRET[::-1]) is None


@given(st.text())
def test_any_other_address_names_nothing(address: str) -> None:
    assert read_address(address, secret=SECRET) is None
    assert read_address(f"https://[::/v1/hooks/wavespeed/{address}", secret=SECRET) is None
    assert read_address(f"{TOKEN}{address}", secret=SECRET) is None
