"""The table of the provider's answers, row by row and as a whole."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rushes.errors import OutcomeUnknown, Permanent, RushesError, Transient
from rushes.wavespeed.answers import (
    ANSWERS,
    AccountRefused,
    Call,
    ConcurrencyLimited,
    InputRefused,
    KeyRefused,
    NoCredit,
    NotSent,
    PredictionNotFound,
    ProviderUnavailable,
    RateLimited,
    SubmitOutcomeUnknown,
    error_for,
    find_row,
)
from rushes.wavespeed.envelope import WORDS_LIMIT, Reply, read_reply
from rushes.wavespeed.transport import MAX_ANSWER_BYTES, Answer
from tests.support.scripted_provider import KEY

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
Kind = type[RushesError]


def reply_of(status: int, body: object) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_reply(Answer(status, content), secret=KEY, now=NOW)


def said(message: str) -> dict[str, object]:
    return {"message": message}


# status, body, then what it means to a submit, to a check of one prediction, to any other question
SAMPLES: list[tuple[int, object, Kind, Kind, Kind]] = [
    (402, {}, NoCredit, NoCredit, NoCredit),
    (402, b"", NoCredit, NoCredit, NoCredit),
    (402, said("INSUFFICIENT CREDITS"), NoCredit, NoCredit, NoCredit),
    (403, said("Insufficient credits. Please top up."), NoCredit, NoCredit, NoCredit),
    (400, said("Insufficient credit balance"), NoCredit, NoCredit, NoCredit),
    (400, {"error": {"message": "insufficient balance"}}, NoCredit, NoCredit, NoCredit),
    (401, {}, KeyRefused, KeyRefused, KeyRefused),
    (401, b"<html>", KeyRefused, KeyRefused, KeyRefused),
    (403, {}, KeyRefused, KeyRefused, KeyRefused),
    (403, said("role viewer, needs developer"), KeyRefused, KeyRefused, KeyRefused),
    (429, {}, RateLimited, RateLimited, RateLimited),
    (429, b"slow down", RateLimited, RateLimited, RateLimited),
    (429, said("Concurrency limit reached"), ConcurrencyLimited, RateLimited, RateLimited),
    (429, said("too many concurrent tasks"), ConcurrencyLimited, RateLimited, RateLimited),
    (400, said("Model not found"), InputRefused, ProviderUnavailable, ProviderUnavailable),
    (413, {}, InputRefused, ProviderUnavailable, ProviderUnavailable),
    (422, {"detail": [{"loc": ["prompt"]}]}, InputRefused, ProviderUnavailable, ProviderUnavailable),
    (404, {}, InputRefused, PredictionNotFound, ProviderUnavailable),
    (400, b"<html>", SubmitOutcomeUnknown, ProviderUnavailable, ProviderUnavailable),
    (404, b"no such route", SubmitOutcomeUnknown, ProviderUnavailable, ProviderUnavailable),
    (413, b"", SubmitOutcomeUnknown, ProviderUnavailable, ProviderUnavailable),
    (422, b"[]", SubmitOutcomeUnknown, ProviderUnavailable, ProviderUnavailable),
    *(
        (status, body, SubmitOutcomeUnknown, ProviderUnavailable, ProviderUnavailable)
        for status in (200, 201, 202, 204, 301, 302, 307, 308, 405, 408, 409, 410, 418, 500, 502, 503, 504, 520, 999)
        for body in ({}, b"<html>", said("insufficient credit, concurrency"))
    ),
    (
        200,
        {"code": 200, "message": "success", "data": None},
        SubmitOutcomeUnknown,
        ProviderUnavailable,
        ProviderUnavailable,
    ),
    (200, {"code": 400}, InputRefused, ProviderUnavailable, ProviderUnavailable),
    (200, {"code": "422"}, InputRefused, ProviderUnavailable, ProviderUnavailable),
    (200, {"code": 401}, KeyRefused, KeyRefused, KeyRefused),
    (202, {"code": 402}, NoCredit, NoCredit, NoCredit),
    (200, {"code": 404}, InputRefused, PredictionNotFound, ProviderUnavailable),
    (200, {"code": 429, "message": "concurrency"}, ConcurrencyLimited, RateLimited, RateLimited),
    (200, {"code": 429}, RateLimited, RateLimited, RateLimited),
    (200, {"code": 500}, SubmitOutcomeUnknown, ProviderUnavailable, ProviderUnavailable),
    (200, {"code": 5004}, SubmitOutcomeUnknown, ProviderUnavailable, ProviderUnavailable),
    (200, {"code": 0}, SubmitOutcomeUnknown, ProviderUnavailable, ProviderUnavailable),
    (200, {"code": -1}, SubmitOutcomeUnknown, ProviderUnavailable, ProviderUnavailable),
    (200, {"code": True}, SubmitOutcomeUnknown, ProviderUnavailable, ProviderUnavailable),
    (500, {"code": 400}, SubmitOutcomeUnknown, ProviderUnavailable, ProviderUnavailable),
]


@pytest.mark.parametrize(("status", "body", "submit", "check", "ask"), SAMPLES)
def test_an_answer_means_the_error_of_its_row(status: int, body: object, submit: Kind, check: Kind, ask: Kind) -> None:
    reply = reply_of(status, body)
    upload = ProviderUnavailable if submit is SubmitOutcomeUnknown else submit
    assert tuple(type(error_for(call, reply)) for call in Call) == (submit, check, ask, upload)


def test_every_row_of_the_table_has_a_sample() -> None:
    assert {id(find_row(reply_of(status, body))) for status, body, *_ in SAMPLES} == {id(row) for row in ANSWERS}


@settings(deadline=None)
@given(
    st.integers(100, 999),
    st.none() | st.dictionaries(st.sampled_from(["code", "message", "error", "data"]), st.integers() | st.text()),
)
def test_no_check_fails_a_job_and_no_submit_is_called_unsent(status: int, body: dict[str, object] | None) -> None:
    reply = reply_of(status, body if body is not None else b"")
    assert isinstance(error_for(Call.CHECK, reply), Transient)
    assert isinstance(error_for(Call.ASK, reply), Transient)
    error = error_for(Call.SUBMIT, reply)
    assert isinstance(error, (AccountRefused, Permanent, OutcomeUnknown))
    assert not isinstance(error, NotSent)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(KeyRefused, "key"), (NoCredit, "credit"), (RateLimited, "rate"), (ConcurrencyLimited, "concurrency")],
)
def test_an_account_refusal_has_a_word_for_machines(kind: type[AccountRefused], reason: str) -> None:
    assert kind("anything").reason == reason


def test_words_that_we_sent_ourselves_do_not_count_as_the_providers() -> None:
    reply = reply_of(400, said('prompt rejected: "insufficient credit"'))
    assert type(error_for(Call.SUBMIT, reply, ours='{"prompt": "insufficient credit"}')) is InputRefused


def test_a_refusal_keeps_the_providers_words_in_one_line_of_limited_length() -> None:
    error = error_for(Call.SUBMIT, reply_of(400, said("duration must be\n\x00 one of 6, 8, 10 " + "x" * 10_000)))
    assert str(error).startswith("WaveSpeed answered 400: duration must be one of 6, 8, 10 xxx")
    assert len(str(error)) < WORDS_LIMIT + 50


def test_an_embedded_code_is_named() -> None:
    assert str(error_for(Call.CHECK, reply_of(200, {"code": 404, "message": "gone"}))) == (
        "WaveSpeed answered 200 with code 404: gone"
    )


def test_a_page_of_html_is_not_quoted() -> None:
    error = error_for(Call.CHECK, reply_of(502, b"<html><script>alert(1)</script>"))
    assert str(error) == "WaveSpeed answered 502: a page of HTML"


def test_the_limit_of_an_answer_leaves_room_for_the_largest_page() -> None:
    largest_entry = 5_000 * 6 + 10_000  # a prompt of escaped characters, and the rest
    assert 100 * largest_entry < MAX_ANSWER_BYTES
