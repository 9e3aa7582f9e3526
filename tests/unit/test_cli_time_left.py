"""The time that is left, as the commands show it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.app import main
from cli.printing import show_time_left
from tests.cli_stub import UUID, Answer, StubApi, batch, job, serve_stub

Run = Callable[..., tuple[int, str, str]]
LEFT = {"expected_seconds": 300.4, "low_seconds": 250.0, "high_seconds": 390.9}
BATCH_LEFT = {
    **LEFT,
    "expected_at": "2026-11-05T12:05:00.000000Z",
    "low_at": "2026-11-05T12:04:10.000000Z",
    "high_at": "2026-11-05T12:06:31.000000Z",
}
RUNNING: dict[str, Any] = {
    "done": 1,
    "ended_at": None,
    "states": {"succeeded": 1, "rendering": 1},
    "seconds_left": 300.4,
    "time_left": BATCH_LEFT,
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in a folder of its own; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUSHES_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")

    def run_command(stub: StubApi, *words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("RUSHES_URL", stub.url)
        code = main(list(words))
        return (code, *capsys.readouterr())

    return run_command


def facts_of(out: str) -> dict[str, str]:
    """Names and values of two columns."""
    return {name.strip(): value.strip() for name, _, value in (line.partition("  ") for line in out.splitlines())}


def test_a_job_shows_its_share_rounded_down_and_its_interval(run: Run) -> None:
    rendering = job(state="rendering", ended_at=None, progress=0.999, time_left=LEFT)
    with serve_stub(Answer(body=rendering), Answer(body={"items": [], "next_cursor": None})) as stub:
        code, out, _ = run(stub, "job", "show", UUID)
    assert code == 0
    assert facts_of(out)["progress"] == "99 %"
    assert facts_of(out)["time left"] == "about 5:00 (4:10 to 6:31)"


def test_a_job_that_has_ended_shows_neither(run: Run) -> None:
    with serve_stub(Answer(body=job(progress=1.0)), Answer(body={"items": [], "next_cursor": None})) as stub:
        _, out, _ = run(stub, "job", "show", UUID)
    assert not {"progress", "time left"} & set(facts_of(out))


def test_json_tells_what_the_api_tells(run: Run) -> None:
    rendering = job(state="rendering", ended_at=None, progress=0.25, time_left=LEFT)
    with serve_stub(Answer(body=rendering), Answer(body={"items": [], "next_cursor": None})) as stub:
        _, out, _ = run(stub, "job", "show", UUID, "--json")
    told = json.loads(out)
    assert (told["progress"], told["time_left"]) == (0.25, LEFT)


def test_a_batch_shows_when_it_will_have_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    with serve_stub(Answer(body=batch(**RUNNING))) as stub:
        _, out, _ = run(stub, "batch", "show", "pilot")
    assert facts_of(out)["time left"] == "about 5:00 (4:10 to 6:31)"
    assert facts_of(out)["ends"].startswith("about 2026-11-05 ")


def test_a_batch_that_is_watched_is_looked_at_until_it_has_ended(run: Run) -> None:
    with serve_stub(Answer(body=batch(**RUNNING)), Answer(body=batch())) as stub:
        code, out, err = run(stub, "batch", "show", "pilot", "--watch")
    assert (code, len(stub.asked)) == (0, 2)
    assert "about 5:00 (4:10 to 6:31) left" in err
    assert facts_of(out)["jobs"] == "2 of 2 ended: 2 succeeded"


@pytest.mark.parametrize(
    ("left", "seconds", "shown"),
    [(LEFT, None, "about 5:00 (4:10 to 6:31)"), (None, 61.0, "about 1:01"), (None, None, "")],
)
def test_without_an_interval_the_rate_so_far_is_told(left: Any, seconds: float | None, shown: str) -> None:
    assert show_time_left(left, seconds=seconds) == shown
