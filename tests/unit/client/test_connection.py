"""What the API's answers, and its silence, become for a program."""

import socket
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from rushes_client import connection as module
from rushes_client.connection import Connection
from rushes_client.errors import AnswerLost, ApiAway, ClientError, Declined
from tests.support.cli_stub import Answer, problem, serve_stub


def ask(*answers: Answer) -> ClientError:
    with serve_stub(*answers) as stub, Connection(stub.url) as client, pytest.raises(ClientError) as caught:
        client.get("jobs", "x")
    return caught.value


def test_problems_are_reported_with_their_fields() -> None:
    error = ask(problem(422, "2 problems", ("jobs.0.input.duration", "must be 6"), ("name", "is taken")))
    assert isinstance(error, Declined)
    assert error.errors == ("jobs.0.input.duration: must be 6", "name: is taken")


def test_a_problem_without_fields_is_reported_by_its_detail() -> None:
    assert ask(problem(404, "there is no job x")).errors == ("there is no job x",)


def test_a_database_that_is_away_says_when_to_try_again() -> None:
    error = ask(problem(503, "the database cannot be reached", **{"Retry-After": "2"}))
    assert (type(error), error.errors, error.retry_after) == (ApiAway, ("the database cannot be reached",), 2)
    assert "try again in 2 s" in error.hint


@pytest.mark.parametrize("answer", [Answer(404, b"<html>"), Answer(200, b"<html>"), Answer(200, [1])])
def test_another_server_at_that_address_is_not_taken_for_the_api(answer: Answer) -> None:
    error = ask(answer)
    assert "is not the Rushes API" in str(error)
    assert "RUSHES_URL" in error.hint


@pytest.mark.parametrize(
    ("answer", "said", "hint"),
    [
        (Answer(401, b"<html>"), "a proxy in front of the API", "RUSHES_API_HEADERS"),
        (Answer(403, b""), "asks for a login", "RUSHES_API_HEADERS"),
        (
            Answer(302, b"", headers={"Location": "https://u:hush@login.example/sso?token=hush"}),
            "redirects to https://login.example/sso (",
            "RUSHES_URL",
        ),
        (Answer(308, b"", headers={"Location": "/elsewhere"}), "redirects to http://127.0.0.1/elsewhere", "RUSHES_URL"),
        (Answer(413, b"<html>"), "refuses a request of this size", "client_max_body_size"),
    ],
)
def test_an_answer_of_a_proxy_is_explained(answer: Answer, said: str, hint: str) -> None:
    error = ask(answer)
    assert said in str(error)
    assert hint in error.hint
    assert "hush" not in f"{error} {error.hint}"


def test_headers_and_the_login_of_the_address_are_sent_and_not_shown() -> None:
    with serve_stub(Answer(401, b"<html>")) as stub:
        url = stub.url.replace("://", "://user:hush%40@")
        with Connection(url, headers={"X-Team": "films"}) as client, pytest.raises(ClientError) as caught:
            client.get("jobs")
    (asked,) = stub.asked
    assert (asked.headers["Authorization"], asked.headers["X-Team"]) == (
        f"Basic {b64encode(b'user:hush@').decode()}",
        "films",
    )
    assert "hush" not in f"{caught.value} {client.url}"


def test_a_large_push_over_a_slow_line_needs_progress_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        answered = pool.submit(answer_slowly, listener, seconds=1.5)
        with Connection(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            assert client.post("batches", body={"name": "x" * 3_000_000}) == {"a": 1}
        assert answered.result() > 3_000_000


def answer_slowly(listener: socket.socket, *, seconds: float) -> int:
    """Read a request of 3 MB evenly over this time, then answer. Returns the number of bytes."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    connection, _ = listener.accept()
    received = 0
    with connection:
        while received < 3_000_000:
            received += len(connection.recv(30_000))
            time.sleep(seconds / 100)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}')
    return received


def test_a_closed_port_names_the_ways_out() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with Connection(url) as client, pytest.raises(ApiAway) as caught:
            client.post("jobs", body={})
    assert url in str(caught.value)
    assert "rushes up" in caught.value.hint
    assert not isinstance(caught.value, AnswerLost)


def test_a_post_that_lost_its_answer_differs_from_one_that_was_not_sent() -> None:
    with serve_stub(Answer(drop=True)) as stub, Connection(stub.url) as client:
        with pytest.raises(AnswerLost):
            client.post("batches", body={"name": "x"})
        assert len(stub.asked) == 1


def test_each_post_has_a_key_of_its_own() -> None:
    with serve_stub(Answer(200, {"a": 1})) as stub, Connection(stub.url) as client:
        for _ in range(2):
            client.post("jobs", body={})
    keys = [asked.headers["Idempotency-Key"] for asked in stub.asked]
    assert len(set(keys)) == 2
    assert all(UUID(key.strip('"')) for key in keys)


def test_an_invalid_url_is_no_traceback() -> None:
    with Connection("http://.x") as client, pytest.raises(ClientError, match="failed: "):
        client.get("jobs")


def test_parts_of_a_path_are_quoted() -> None:
    with serve_stub(Answer(200, {"a": 1})) as stub, Connection(stub.url) as client:
        client.get("batches", "../../x y?z")
    assert stub.asked[0].path == "/v1/batches/..%2F..%2Fx%20y%3Fz"


def test_lists_are_read_page_by_page_up_to_the_limit() -> None:
    pages = [
        Answer(200, {"items": [{"n": n} for n in range(500)], "next_cursor": "c1"}),
        Answer(200, {"items": [{"n": n} for n in range(500, 600)], "next_cursor": "c2"}),
    ]
    with serve_stub(*pages) as stub, Connection(stub.url) as client:
        found = list(client.list_items("jobs", limit=600, state=None, batch="b"))
    assert [each["n"] for each in found] == list(range(600))
    assert [asked.path for asked in stub.asked] == [
        "/v1/jobs?batch=b&limit=500",
        "/v1/jobs?batch=b&cursor=c1&limit=100",
    ]


def test_a_list_ends_where_the_cursors_end() -> None:
    with serve_stub(Answer(200, {"items": [], "next_cursor": None})) as stub, Connection(stub.url) as client:
        assert list(client.list_items("jobs", limit=None)) == []
    assert len(stub.asked) == 1
