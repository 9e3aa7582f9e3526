"""Times as the provider writes and reads them."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.wavespeed.state.timestamps import format_time, parse_time, shorten

MOMENTS = st.integers(min_value=0, max_value=4_000_000_000_000_000_000)
DIGITS = st.integers(min_value=0, max_value=9)


@given(MOMENTS, DIGITS)
def test_a_shortened_moment_is_reported_exactly_by_its_text(moment_ns: int, digits: int) -> None:
    exact, text = shorten(moment_ns, digits)
    assert parse_time(text) == exact
    assert 0 <= moment_ns - exact <= 50_000_000


@given(MOMENTS)
def test_every_length_of_fraction_occurs_where_it_costs_little(second: int) -> None:
    whole = second - second % 1_000_000_000
    lengths = [len(re.sub(r"^[^.]*\.?|Z$", "", shorten(whole, digits)[1])) for digits in range(10)]
    assert lengths == list(range(10))


@given(MOMENTS, DIGITS)
def test_text_is_rfc_3339_in_utc(moment_ns: int, digits: int) -> None:
    text = format_time(moment_ns, digits)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", text)
    assert datetime.fromisoformat(text[:19]).replace(tzinfo=UTC).timestamp() == moment_ns // 1_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-09-29T23:09:43.027Z", 1_759_187_383_027_000_000),
        ("2025-09-29T23:09:43Z", 1_759_187_383_000_000_000),
        ("2025-09-30T01:09:43.5+02:00", 1_759_187_383_500_000_000),
        ("2025-09-29 23:09:43", 1_759_187_383_000_000_000),
    ],
)
def test_iso_times_are_read(text: str, expected: int) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2025-13-01T00:00:00Z", "2025-09-29", None, 5, "1759187383027"])
def test_nonsense_is_no_time(text: object) -> None:
    assert parse_time(text) is None
