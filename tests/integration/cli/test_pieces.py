"""Large prompt files are pushed piece by piece: resumed after any interruption, and never bought twice."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cli.app import main
from cli.pieces import push_in_pieces
from cli.prompt_file.jobs import Prepared
from rushes.jobs.actions import find_running_action
from rushes_client.client import Rushes
from rushes_client.connection import Connection, make_once
from rushes_client.errors import AnswerLost
from tests.support.access import KEY
from tests.support.api_server import Api, Json, serve_api
from tests.support.runtimes import finish_actions
from tests.support.simulator_client import wait_until

JOBS, PIECE = 8, 3
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def api(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cli.pieces.PIECE_JOBS", PIECE)
    monkeypatch.setattr("cli.pieces.PAUSES_SECONDS", (0, 0))
    monkeypatch.setattr("cli.prompt_file.push.PIECES_ABOVE", 5)
    write("shots.jsonl")
    with serve_api(database_url, tmp_path / "data", max_batch_jobs=20) as served:
        monkeypatch.setenv("RUSHES_URL", str(served.client.base_url))
        monkeypatch.setenv("RUSHES_API_KEY", KEY)
        yield served


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def write(name: str, count: int = JOBS, word: str = "shot") -> None:
    lines = (json.dumps({"id": f"{word}-{number}", "prompt": f"{word} {number}"}) for number in range(1, count + 1))
    Path(name).write_text("\n".join(lines))


def submit(run: Run, *more: str) -> tuple[int, str, str]:
    return run("submit", "shots.jsonl", "-b", "night", "-m", "ltx-2-fast", "--no-check", *more)


def list_jobs(api: Api) -> list[Json]:
    found = api.client.get("/v1/jobs", params={"limit": 500}).raise_for_status().json()["items"]
    return sorted(found, key=lambda job: job["number"])


def prompts(api: Api) -> list[str]:
    return [job["input"]["prompt"] for job in list_jobs(api)]


ALL = [f"shot {number}" for number in range(1, JOBS + 1)]


def test_a_large_file_becomes_one_sealed_batch(api: Api, run: Run) -> None:
    code, out, _ = submit(run)
    pushed = api.client.get("/v1/batches/night").json()
    assert (code, pushed["state"], pushed["jobs"]) == (0, "sealed", JOBS)
    assert "batch  night" in out
    assert prompts(api) == ALL
    assert [job["client_ref"] for job in list_jobs(api)][:2] == ["shot-1", "shot-2"]


def test_the_same_large_file_is_not_bought_again(api: Api, run: Run) -> None:
    submit(run)
    code, _, err = run("submit", "shots.jsonl", "-m", "ltx-2-fast", "--no-check")
    assert code == 0
    assert "this file was pushed as night" in err
    assert "--again buys it again" in err
    assert prompts(api) == ALL
    assert run("submit", "shots.jsonl", "-b", "more", "-m", "ltx-2-fast", "--no-check", "--again")[0] == 0
    assert len(prompts(api)) == 2 * JOBS


def test_a_small_push_of_the_same_jobs_is_recognised(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("cli.prompt_file.push.PIECES_ABOVE", 100)
        submit(run)
    assert "this file was pushed as night" in submit(run)[2]
    assert prompts(api) == ALL


def fail_at(monkeypatch: pytest.MonkeyPatch, call: int, error: BaseException, *, sends: bool) -> None:
    """Let the `call`th piece fail once, after it was sent or before."""
    send, made = Connection.send, 0

    def add(self: Connection, *given: Any, **more: Any) -> Json:
        nonlocal made
        made += 1
        if made != call:
            return send(self, *given, **more)
        if sends:
            send(self, *given, **more)
        raise error

    monkeypatch.setattr(Connection, "send", add)


@pytest.mark.parametrize("sends", [False, True])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_an_interrupted_push_goes_on_with_what_is_missing(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch, call: int, sends: bool
) -> None:
    fail_at(monkeypatch, call, KeyboardInterrupt(), sends=sends)
    code, _, err = submit(run)
    assert code == 130
    assert "the same command again adds the others" in err
    stored = min(JOBS, PIECE * (call - 1 + sends))
    assert len(prompts(api)) == stored
    assert api.client.get("/v1/batches/night").json()["state"] == "open"
    code, _, err = submit(run)
    assert code == 0
    assert (f"has {stored} of these {JOBS} jobs: going on with the others" in err) == (stored > 0)
    assert prompts(api) == ALL
    assert api.client.get("/v1/batches/night").json()["state"] == "sealed"


@pytest.mark.parametrize("sends", [False, True])
def test_a_lost_answer_is_asked_for_again(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch, sends: bool) -> None:
    fail_at(monkeypatch, 2, AnswerLost("no answer"), sends=sends)
    code, _, err = submit(run)
    assert code == 0
    assert "which buys nothing twice" in err
    assert prompts(api) == ALL


def test_two_commands_at_once_buy_the_jobs_once(api: Api) -> None:
    jobs = [{"model": "ltx-2-fast", "input": {"prompt": prompt}} for prompt in ALL]
    body = {"name": "night", "on_repeat": "same_jobs"}

    def push(_: int) -> Json:
        with Rushes(str(api.client.base_url), key=KEY) as client:
            return push_in_pieces(client, body, prepared=Prepared(jobs=jobs), once=make_once(), repeat="")

    with ThreadPoolExecutor(2) as pool:
        assert {pushed["jobs"] for pushed in pool.map(push, range(2))} == {JOBS}
    assert prompts(api) == ALL


def test_a_batch_that_was_closed_early_is_reported(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, 2, KeyboardInterrupt(), sends=False)
    submit(run)
    api.client.post("/v1/batches/night/seal").raise_for_status()
    code, _, err = submit(run)
    assert code == 1
    assert "pushed as night, which was closed with 3 of 8 jobs" in err


def test_a_refused_piece_is_explained_by_the_lines_of_the_file(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.validation.fill_in", refuse_the_fifth)
    code, _, err = submit(run)
    assert code == 2
    assert "shots.jsonl:5: priority: must be a whole number" in err
    assert "`rushes batch cancel night` cancels it" in err
    assert prompts(api) == ALL[:PIECE]


def refuse_the_fifth(given: Json, _: object) -> Json:
    return {**given, "priority": "high"} if given["input"]["prompt"] == "shot 5" else given


def test_an_empty_open_batch_is_cancelled_by_a_command(api: Api, run: Run) -> None:
    api.client.post("/v1/batches", json={"name": "night"}).raise_for_status()
    assert run("batch", "cancel", "night", "--dry-run")[0] == 0
    assert api.client.get("/v1/batches/night").json()["state"] == "open"
    with ThreadPoolExecutor(1) as leader:
        leader.submit(lead, api)
        assert run("batch", "cancel", "night", "--yes")[0] == 0
    assert api.client.get("/v1/batches/night").json()["state"] == "cancelled"


def lead(api: Api) -> None:
    wait_until(lambda: find_running_action(api.sessions) is not None, "an action")
    finish_actions(api.sessions)
