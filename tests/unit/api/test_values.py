"""Formats on the wire."""

import base64
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from api.schemas.values import IdCursor, JobCursor, Money, NumberCursor, Time, encode_cursor
from models.queries.job_lists import JobPlace

ids, numbers, places = TypeAdapter(IdCursor), TypeAdapter(NumberCursor), TypeAdapter(JobCursor)


@pytest.mark.parametrize(
    ("amount", "text"), [("0.36", "0.3600"), ("0", "0.0000"), ("36000", "36000.0000"), ("1E+2", "100.0000")]
)
def test_money_is_text_with_four_decimals(amount: str, text: str) -> None:
    assert TypeAdapter(Money).dump_python(Decimal(amount), mode="json") == text


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 11, 5, 12, 0, 0, 146283, tzinfo=UTC),
        datetime(2026, 11, 5, 14, 0, 0, 146283, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_times_are_reported_in_utc(at: datetime) -> None:
    assert TypeAdapter(Time).dump_python(at, mode="json") == "2026-11-05T12:00:00.146283Z"


@given(st.uuids())
def test_a_cursor_leads_back_to_its_id(key: UUID) -> None:
    cursor = encode_cursor(key)
    assert cursor is not None
    assert cursor.replace("-", "a").replace("_", "a").isalnum()
    assert ids.validate_python(cursor) == key


prices = st.decimals(0, 10**8 - 1, places=4)
values = st.none() | prices | st.datetimes(timezones=st.just(UTC))


@given(st.uuids(), values)
def test_a_cursor_leads_back_to_the_place_of_a_job(job_id: UUID, value: datetime | Decimal | None) -> None:
    place = JobPlace(job_id, value)
    assert places.validate_python(encode_cursor(place)) == place


@pytest.mark.parametrize("words", ["", "x", "1e400", "NaN", "\u0661.\u0660\u0660\u0660\u0660"])
def test_a_place_that_no_listing_gave_is_refused(words: str) -> None:
    cursor = base64.urlsafe_b64encode(b"short" if not words else UUID(int=1).bytes + words.encode()).decode()
    with pytest.raises(ValidationError, match="next_cursor"):
        places.validate_python(cursor.rstrip("="))


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_a_cursor_leads_back_to_its_number(key: int) -> None:
    assert numbers.validate_python(encode_cursor(key)) == key


def test_the_last_page_has_no_cursor() -> None:
    assert encode_cursor(None) is None


def test_an_empty_cursor_means_the_first_page() -> None:
    assert ids.validate_python("") is None
    assert numbers.validate_python("") == 0


def read(cursor: str) -> UUID | str:
    try:
        return ids.validate_python(cursor)
    except ValidationError as error:
        return str(error)


@given(st.text(min_size=1))
def test_any_other_text_is_refused_or_an_id(text: str) -> None:
    assert isinstance(read(text), UUID) or "must be a `next_cursor` of this listing" in read(text)


@pytest.mark.parametrize("cursor", ["x", "//////////8", "__________8", "ä" * 11])
def test_a_number_that_no_listing_gave_is_refused(cursor: str) -> None:
    with pytest.raises(ValidationError, match="next_cursor"):
        numbers.validate_python(cursor)


def test_a_cursor_of_one_listing_is_refused_by_the_other() -> None:
    with pytest.raises(ValidationError, match="next_cursor"):
        numbers.validate_python(encode_cursor(UUID(int=1)))
