"""Reading replies: the envelope and the words."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rushes.wavespeed.envelope import clean_words, read_object, read_reply, text_of, whole_number
from rushes.wavespeed.transport import Answer

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"x"', b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 200_000, b'{"a": ' + b"9" * 5_000 + b"}"],
)
def test_a_body_that_is_no_json_object_is_none(body: bytes) -> None:
    assert read_object(body) is None


def test_exact_numbers_are_decimals() -> None:
    assert read_object(b'{"price": 0.1}', exact_numbers=True) == {"price": Decimal("0.1")}


def test_an_exact_number_beyond_all_bounds_is_no_answer() -> None:
    assert read_object(b'{"price": 1e999999999999999999999}', exact_numbers=True) is None


@settings(deadline=None)
@given(st.integers(100, 999), st.binary())
def test_a_body_of_any_bytes_raises_nothing(status: int, body: bytes) -> None:
    reply = read_reply(Answer(status, body), secret="k", now=NOW)
    assert reply.status == status
    reply.words.encode()


@settings(deadline=None)
@given(st.text(), st.text(max_size=5))
def test_clean_words_are_one_storable_line_without_the_secret(text: str, secret: str) -> None:
    cleaned = clean_words(text + secret, secret, limit=50)
    assert len(cleaned) <= 50
    assert cleaned.isprintable()
    cleaned.encode()
    if secret and not set(secret) & set("[key]… "):
        assert secret not in cleaned


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", ""),
        (False, ""),
        ("plain", "plain"),
        ({"message": "inner"}, "inner"),
        ({"error": "inner", "code": 1}, "inner"),
        ({"strange": [1]}, '{"strange": [1]}'),
        (["a", "b"], '["a", "b"]'),
        (7, "7"),
    ],
)
def test_a_message_is_text_however_it_came(value: object, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), ("1200", 1200), (True, None), (7.0, None), ("-1", None), ("", None), (None, None), ("9" * 5_000, None)],
)
def test_a_whole_number_may_come_as_digits(value: object, number: int | None) -> None:
    assert whole_number(value) == number


def test_words_are_gathered_once_each() -> None:
    body = b'{"message": "bad", "error": "bad", "error_code": "E1", "data": {"error": "worse"}}'
    assert read_reply(Answer(400, body), secret="", now=NOW).words == "bad; E1; worse"
