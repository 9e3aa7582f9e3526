"""From bytes to orders, or to a refusal that says what to change."""

import json
from typing import Any

import pytest
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from api.errors import TEXT_LIMIT, ProblemResponse, answer_error
from api.schemas.orders import BatchOrder
from api.validation import read_schema
from models.db.errors import DatabaseAway
from rushes.errors import Conflict, InvalidInput, NotFound, Problem, Unavailable
from rushes.jobs.pushing import JobOrder

FINE = {"model": "ltx-2-pro", "input": {"prompt": "a fox"}}


def refuse(schema: type, value: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refused:
        read_schema(schema, json.dumps(value).encode())
    return {problem.field: problem.message for problem in refused.value.problems}


def test_a_job_becomes_an_order() -> None:
    new = read_schema(JobOrder, json.dumps({**FINE, "priority": -5, "max_attempts": 1}).encode())
    assert new == JobOrder(model="ltx-2-pro", input={"prompt": "a fox"}, priority=-5, max_attempts=1)


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"priority": 101}, "priority", "must be at most 100"),
        ({"priority": -101}, "priority", "must be at least -100"),
        ({"priority": "5"}, "priority", "must be a whole number"),
        ({"priority": 1.5}, "priority", "must be a whole number"),
        ({"priority": True}, "priority", "must be a whole number"),
        ({"priority": None}, "priority", "must be a whole number"),
        ({"max_attempts": 0}, "max_attempts", "must be at least 1"),
        ({"max_attempts": 21}, "max_attempts", "must be at most 20"),
        ({"model": 7}, "model", "must be text"),
        ({"model": "x" * 201}, "model", "must have at most 200 characters"),
        ({"input": []}, "input", "must be an object"),
        ({"color": "red"}, "color", "unknown field"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], field: str, message: str) -> None:
    assert refuse(JobOrder, {**FINE, **change}) == {field: message}
    assert refuse(BatchOrder, {"name": "pilot", "jobs": [FINE, {**FINE, **change}]}) == {f"jobs.1.{field}": message}


def test_a_flat_job_is_reported_where_parameters_go() -> None:
    wrong = refuse(JobOrder, {"model": "ltx-2-pro", "prompt": "a fox", "duration": 6, "seed": 1})
    hint = "unknown field; parameters of the video model go into `input`"
    assert wrong == {"input": "is required", "prompt": hint, "duration": hint, "seed": hint}


@pytest.mark.parametrize("body", [b"[]", b'"a fox"', b"7", b"null"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="must be an object"):
        read_schema(JobOrder, body)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "line 1 column 0"),
        (b'{\n "model": tru}', "line 2 column 14"),
        (b'{"model": "ltx-2-pro",}', "line 1 column 23"),
        (b"\xff\xfe", "line 1 column 1"),
        (b'{"model": "\xff"}', "line 1 column 12"),
        (b'{"model": "\\ud800"}', "line 1 column 18"),
        (b"[" * 100_000, "line 1 column 202"),
        (b'{"priority": ' + b"9" * 5_000 + b"}", "line 1 column"),
    ],
)
def test_a_body_that_is_no_json_is_refused_with_its_place(body: bytes, place: str) -> None:
    with pytest.raises(HTTPException, match=place) as refused:
        read_schema(JobOrder, body)
    assert refused.value.status_code == 400


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_body_is_read_or_refused(body: bytes) -> None:
    with pytest.raises((InvalidInput, HTTPException)):
        read_schema(BatchOrder, body)


def test_a_batch_that_is_wrong_throughout_lists_a_hundred_problems() -> None:
    assert len(refuse(BatchOrder, {"name": "pilot", "jobs": [{"model": 1, "input": {}}] * 500})) == 100


async def _answer(error: Exception) -> ProblemResponse:
    answer = await answer_error(Request({"type": "http"}), error)
    assert isinstance(answer, ProblemResponse)
    return answer


def answer(error: Exception) -> ProblemResponse:
    """The problem for an error; nothing in it waits, so one step of the coroutine is all of it."""
    with pytest.raises(StopIteration) as done:
        _answer(error).send(None)
    response: ProblemResponse = done.value.value
    return response


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput([Problem("input", "is required")]), 422),
        (NotFound("there is no job"), 404),
        (Conflict("it has ended"), 409),
        (Unavailable("away"), 503),
        (DatabaseAway("away"), 503),
    ],
)
def test_each_branch_of_the_error_tree_has_a_status(error: Exception, status: int) -> None:
    response = answer(error)
    problem = json.loads(response.body)
    assert (response.status_code, problem["status"], problem["detail"]) == (status, status, str(error))
    assert response.media_type == "application/problem+json"
    assert ("retry-after" in response.headers) == (status == 503)


def test_an_error_without_a_status_is_handled_as_a_bug() -> None:
    with pytest.raises(KeyError):
        _answer(KeyError("a bug")).send(None)


def test_messages_are_cut_however_long_the_wrong_value_is() -> None:
    problems = [Problem("f" * 10_000, "m" * 10_000)] * 5
    problem = json.loads(answer(InvalidInput(problems)).body)
    assert len(problem["detail"]) == TEXT_LIMIT
    assert {len(problem["errors"][0][key]) for key in ("field", "message")} == {TEXT_LIMIT}


def test_the_detail_names_three_problems_and_counts_the_rest() -> None:
    problem = json.loads(answer(InvalidInput([Problem(f"jobs.{n}", "is wrong") for n in range(5)])).body)
    assert problem["detail"] == "jobs.0: is wrong; jobs.1: is wrong; jobs.2: is wrong; and 2 more"
    assert len(problem["errors"]) == 5
