"""Pushing through an API that dies: every batch is there in the end, and once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chaos.farm import Pusher
from chaos.plan import Push
from rushes_client.errors import Declined
from stack.processes import default_settings
from tests.support.cli_stub import Answer, StubApi, batch, problem, serve_stub

PUSH = Push(0.0, 4, ("a", "a", "b"))
STORED = Answer(201, batch())


@contextmanager
def pushing(url: str) -> Iterator[Pusher]:
    pusher = Pusher(default_settings(url=url), prefix="run")
    try:
        pusher.push(PUSH)
        yield pusher
    finally:
        pusher.close()


def wait(pusher: Pusher) -> None:
    deadline = time.monotonic() + 60
    while pusher.is_pushing:
        assert time.monotonic() < deadline, "it is not there"
        time.sleep(0.01)


def names(stub: StubApi) -> list[object]:
    return [asked.body["name"] for asked in stub.asked if asked.body is not None]


def test_a_batch_is_pushed_once_when_it_is_answered() -> None:
    with serve_stub(STORED) as stub, pushing(stub.url) as pusher:
        wait(pusher)
    assert names(stub) == ["run-4"]
    (asked,) = stub.asked
    assert asked.body is not None
    assert [job["input"]["prompt"] for job in asked.body["jobs"]] == ["a", "a", "b"]


def test_an_api_that_is_away_is_asked_until_it_takes_the_batch() -> None:
    away = problem(503, "the database is away")
    with serve_stub(away, away, STORED) as stub, pushing(stub.url) as pusher:
        wait(pusher)
    assert names(stub) == ["run-4"] * 3
    assert pusher.counts["repeated"] == 2


def test_a_name_that_is_taken_says_that_the_lost_answer_was_a_yes() -> None:
    with serve_stub(Answer(drop=True), problem(409, "it exists")) as stub, pushing(stub.url) as pusher:
        wait(pusher)
    assert names(stub) == ["run-4"] * 2
    assert (pusher.counts["answers_lost"], pusher.counts["stored_before"]) == (1, 1)


def test_a_refusal_for_good_ends_the_run() -> None:
    with (
        serve_stub(problem(422, "no such model")) as stub,
        pushing(stub.url) as pusher,
        pytest.raises(Declined, match="no such model"),
    ):
        wait(pusher)
