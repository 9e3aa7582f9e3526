"""Failures in groups: what counts as the same message."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.queries.job_lists import FailedJob
from rushes.jobs.failures import group_failures, mask_message

NOON = datetime(2026, 11, 5, 12, tzinfo=UTC)
pieces = st.sampled_from(
    ["http://", "s3://a b", "://", "<url>", "#", "#", "deadbeef", "5f2c1e0b", "-", "_", '"', ">", "a", "7", "é", " "]
)
messages = st.text() | st.lists(pieces).map("".join) | st.uuids().map(str) | st.from_regex(r"[0-9a-fx.:/-]{0,60}")


@pytest.mark.parametrize(
    ("message", "masked"),
    [
        ("task 5f2c1e0b7a9d4c63b8e1 failed after 31.5 s", "task # failed after # s"),
        ("job 019A54C2-7D10-7C31-8A52-0F4BE1D2A901: HTTP 500", "job #: HTTP #"),
        ("cannot fetch https://a.example/7.png?x=1 (404)", "cannot fetch <url> (#)"),
        ("'s3://bucket/key' is gone", "'<url>' is gone"),
        ("request_8Fk2mmQp71Zz of 1,024 bytes at 12:30:01", "request_# of # bytes at #"),
        ("ltx-2-pro makes 1920x1080 mp4", "ltx-#-pro makes #x# mp#"),
        ("a defaced facade", "a defaced facade"),
        ("", ""),
    ],
)
def test_ids_addresses_and_numbers_are_masked(message: str, masked: str) -> None:
    assert mask_message(message) == masked


@given(messages)
def test_a_masked_message_has_no_digits_and_stays_as_it_is(message: str) -> None:
    masked = mask_message(message)
    assert not re.search(r"\d", masked)
    assert mask_message(masked) == masked


@given(st.from_regex(r"\A[^\d:/<>]*\Z"), st.integers(0, 10**30), st.integers(0, 10**30))
def test_messages_that_differ_in_one_number_are_the_same(words: str, one: int, other: int) -> None:
    assert mask_message(f"{words} {one} {words}") == mask_message(f"{words} {other} {words}")


def failed(message: str, *, code: str = "provider", minutes: int = 0, model: str = "a/model") -> FailedJob:
    spent, at = Decimal("0.1") if code == "provider" else Decimal(0), NOON + timedelta(minutes=minutes)
    return FailedJob(UUID(int=minutes), "default", "pilot", 1, None, model, Decimal("0.36"), code, message, at, spent)


def test_failures_are_grouped_by_code_and_message_and_sorted_by_count() -> None:
    ids = ["abcdef12", "12345678", "0a0a0a0a0a", "7777aaaa", "00ff00ff", "1234abcd"]
    jobs = [failed(f"task {each} failed", minutes=9 - place) for place, each in enumerate(ids)]
    largest, other = group_failures([failed("no", code="input"), *jobs])
    assert (largest.code, largest.message, largest.jobs) == ("provider", "task # failed", 6)
    assert (other.code, other.spent, other.price) == ("input", Decimal(0), Decimal("0.36"))
    assert (largest.spent, largest.price) == (Decimal("0.6"), Decimal("2.16"))
    assert (largest.first_at, largest.last_at) == (jobs[-1].ended_at, jobs[0].ended_at)
    assert largest.samples == jobs[:5]
    assert largest.models == ["a/model"]
