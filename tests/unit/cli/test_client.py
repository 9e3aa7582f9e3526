"""What the API's answers, and its silence, become for a person."""

import socket

import pytest

from cli.api_client import AnswerLost, ApiClient, Declined
from stack.errors import BAD_INPUT, FAILED, SERVICE_AWAY, CommandError, ServiceAway
from tests.support.cli_stub import Answer, problem, serve_stub


def ask(*answers: Answer) -> CommandError:
    with serve_stub(*answers) as stub, ApiClient(stub.url) as client, pytest.raises(CommandError) as caught:
        client.get("jobs", "x")
    return caught.value


def test_problems_are_reported_with_their_fields() -> None:
    error = ask(problem(422, "2 problems", ("jobs.0.input.duration", "must be 6"), ("name", "is taken")))
    assert isinstance(error, Declined)
    assert error.errors == ("jobs.0.input.duration: must be 6", "name: is taken")
    assert error.exit_code == BAD_INPUT


def test_a_problem_without_fields_is_reported_by_its_detail() -> None:
    assert ask(problem(404, "there is no job x")).errors == ("there is no job x",)


def test_a_fault_of_the_api_is_no_fault_of_the_caller() -> None:
    assert ask(problem(500, "something broke")).exit_code == FAILED


def test_a_database_that_is_away_says_when_to_try_again() -> None:
    error = ask(problem(503, "the database cannot be reached", **{"Retry-After": "2"}))
    assert (error.exit_code, error.errors) == (SERVICE_AWAY, ("the database cannot be reached",))
    assert "try again in 2 s" in error.hint


@pytest.mark.parametrize("answer", [Answer(404, b"<html>"), Answer(200, b"<html>"), Answer(200, [1]), Answer(302, b"")])
def test_another_server_at_that_address_is_not_taken_for_the_api(answer: Answer) -> None:
    error = ask(answer)
    assert "is not the Rushes API" in str(error)
    assert "RUSHES_URL" in error.hint


def test_a_closed_port_names_the_ways_out() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with ApiClient(url) as client, pytest.raises(ServiceAway) as caught:
            client.post("jobs", body={})
    assert url in str(caught.value)
    assert "rushes up" in caught.value.hint
    assert not isinstance(caught.value, AnswerLost)


def test_a_post_that_lost_its_answer_differs_from_one_that_was_not_sent() -> None:
    with serve_stub(Answer(drop=True)) as stub, ApiClient(stub.url) as client:
        with pytest.raises(AnswerLost):
            client.post("batches", body={"name": "x"})
        assert len(stub.asked) == 1


def test_an_invalid_url_is_no_traceback() -> None:
    with ApiClient("http://[") as client, pytest.raises(CommandError, match="failed: "):
        client.get("jobs")


def test_parts_of_a_path_are_quoted() -> None:
    with serve_stub(Answer(200, {"a": 1})) as stub, ApiClient(stub.url) as client:
        client.get("batches", "../../x y?z")
    assert stub.asked[0].path == "/v1/batches/..%2F..%2Fx%20y%3Fz"


def test_lists_are_read_page_by_page_up_to_the_limit() -> None:
    pages = [
        Answer(200, {"items": [{"n": n} for n in range(500)], "next_cursor": "c1"}),
        Answer(200, {"items": [{"n": n} for n in range(500, 600)], "next_cursor": "c2"}),
    ]
    with serve_stub(*pages) as stub, ApiClient(stub.url) as client:
        found = list(client.list_items("jobs", limit=600, state=None, batch="b"))
    assert [each["n"] for each in found] == list(range(600))
    assert [asked.path for asked in stub.asked] == [
        "/v1/jobs?batch=b&limit=500",
        "/v1/jobs?batch=b&cursor=c1&limit=100",
    ]


def test_a_list_ends_where_the_cursors_end() -> None:
    with serve_stub(Answer(200, {"items": [], "next_cursor": None})) as stub, ApiClient(stub.url) as client:
        assert list(client.list_items("jobs", limit=None)) == []
    assert len(stub.asked) == 1
