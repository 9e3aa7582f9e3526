"""Waiting for a batch: what is shown, and what is waited for."""

import io
from typing import Any

import pytest
from rich.console import Console

from cli.batch_progress import LiveView, PlainView, describe_batch, open_view, wait_for_batch
from rushes_client.connection import Connection
from rushes_client.errors import ApiAway, Declined
from tests.support.cli_stub import batch

RUNNING: dict[str, Any] = {
    "done": 1,
    "states": {"succeeded": 1, "rendering": 1},
    "seconds_left": 61.0,
    "cost": {"estimated": "1234.5600", "held": "0.3600", "spent": "0.3600"},
}


class ScriptedClient(Connection):
    """Answers from a list; exceptions are raised."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        super().__init__("http://127.0.0.1:1")
        self.answers = list(answers)

    def get(self, *path: str, **query: Any) -> dict[str, Any]:
        if path == ("events",):
            raise Declined(404, "an older API")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Notebook:
    """A view that remembers."""

    def __init__(self) -> None:
        self.shown: list[int] = []
        self.notes: list[str] = []

    def show(self, batch: dict[str, Any]) -> None:
        self.shown.append(batch["done"])

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_a_batch_is_checked_until_every_job_has_ended() -> None:
    view, pauses = Notebook(), list[float]()
    client = ScriptedClient(batch(done=0), batch(done=1), batch(done=2))
    ended = wait_for_batch(client, "pilot", view=view, every=1.0, pause=pauses.append)
    assert (ended["done"], view.shown, pauses) == (2, [0, 1, 2], [1.0, 1.0])


def test_an_api_that_restarts_is_waited_for_with_a_note_and_growing_pauses() -> None:
    view, pauses = Notebook(), list[float]()
    away = [ApiAway("the API cannot be reached")] * 5 + [Declined(500, "starting")]
    wait_for_batch(ScriptedClient(batch(done=0), *away, batch()), "pilot", view=view, every=1.0, pause=pauses.append)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    assert view.notes == [
        "the API cannot be reached; the batch continues, and this command retries until the API answers",
        "the API answers again",
    ]


def test_a_batch_that_does_not_exist_is_not_waited_for() -> None:
    with pytest.raises(Declined):
        wait_for_batch(ScriptedClient(Declined(404, "no such batch")), "pilot", view=Notebook())


def test_a_running_batch_is_described_by_counts_spend_and_times() -> None:
    assert describe_batch(batch(**RUNNING)) == (
        "1 rendering, 1 succeeded · $0.36 of $1,234.56 spent · 9 s elapsed · about 1:01 left"
    )


def test_a_forecast_is_reported_with_its_interval() -> None:
    left = {"expected_seconds": 61.0, "low_seconds": 40.0, "high_seconds": 99.0}
    assert describe_batch(batch(**RUNNING, time_left=left)).endswith(" · about 1:01 (40 s to 1:39) left")


def test_an_unknown_time_left_is_reported_as_unknown() -> None:
    assert describe_batch(batch(**RUNNING | {"seconds_left": None})).endswith(" · time left not known yet")


def test_an_ended_batch_has_no_time_left() -> None:
    assert describe_batch(batch()) == "2 succeeded · $0.72 of $0.72 spent · 9 s elapsed"


def test_lines_without_a_terminal_come_on_change_but_not_too_often() -> None:
    now = [0.0]
    stream = io.StringIO()
    view = PlainView(Console(file=stream, width=200), clock=lambda: now[0])
    for second, succeeded in ((0, 0), (1, 1), (2, 1), (6, 1), (12, 1), (12.1, 2)):
        now[0] = second
        view.show(batch(done=succeeded, states={"succeeded": succeeded, "rendering": 2 - succeeded}))
    assert [line.split(" done")[0] for line in stream.getvalue().splitlines()] == [
        "pilot: 0/2",
        "pilot: 1/2",
        "pilot: 2/2",
    ]


def test_a_terminal_gets_a_bar_and_a_pipe_gets_lines() -> None:
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    for console in (Console(file=io.StringIO()), dumb):
        with open_view(console) as view:
            assert isinstance(view, PlainView)
    stream = io.StringIO()
    with open_view(Console(file=stream, force_terminal=True, width=120, _environ={"TERM": "xterm"})) as view:
        assert isinstance(view, LiveView)
        view.show(batch(**RUNNING))
        view.note("the API answers again")
    assert "1/2" in stream.getvalue()
    assert "about 1:01 left" in stream.getvalue()
