"""The commands as a person types them, against a scripted API."""

import csv
import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from cli.output import name_for, print_table, show_money, show_seconds, show_text
from cli.prompt_file.push import PAUSES_SECONDS, choose_name
from rushes.errors import InvalidInput
from sandbox.wavespeed.__main__ import read_settings
from sandbox.wavespeed.settings import SimulatorSettings
from stack.errors import CommandError
from stack.interrupts import Interrupted
from stack.run import run_stack
from stack.stack import Stack
from tests.support.cli_stub import UUID, Answer, Run, batch, job, problem, serve_stub

GOOD = '{"prompt": "a fox", "model": "ltx-2-pro"}\n'


def write(name: str, content: str) -> str:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(content)
    return name


def test_a_file_is_pushed_as_one_batch_and_the_next_step_is_said(run: Run) -> None:
    answer = batch(done=0, warnings=[{"message": "seed is not supported by ltx-2-pro: dropped", "jobs": 2}])
    write("prompts.jsonl", '{"prompt": "a", "seed": 1}\n{"prompt": "b", "model": "ltx-2-fast", "seed": 2}\n')
    with serve_stub(Answer(201, answer)) as stub:
        code, out, err = run(stub, "submit", "prompts.jsonl", "-b", "pilot", "-m", "ltx-2-pro", "-d", "8", "--no-audio")
    assert code == 0
    (asked,) = stub.asked
    assert (asked.method, asked.path) == ("POST", "/v1/batches")
    assert asked.body == {
        "name": "pilot",
        "on_repeat": "same_jobs",
        "jobs": [
            {"model": "ltx-2-pro", "input": {"prompt": "a", "seed": 1, "duration": 8, "generate_audio": False}},
            {"model": "ltx-2-fast", "input": {"prompt": "b", "seed": 2, "duration": 8, "generate_audio": False}},
        ],
    }
    assert out.splitlines() == ["batch  pilot", f"id     {UUID}", "jobs   2", "cost   $0.72 (estimated)"]
    assert "warning: seed is not supported by ltx-2-pro: dropped (2 jobs)" in err
    assert "hint: `rushes batch show pilot` shows its progress" in err


def test_a_wrong_line_refuses_the_whole_file_and_nothing_is_sent(run: Run) -> None:
    write("prompts.jsonl", GOOD * 16 + '{"prompt": "b", "model": "ltx-2-pro", "duration": 7}\n' + GOOD * 23)
    with serve_stub(Answer(201, batch())) as stub:
        code, out, err = run(stub, "submit", "prompts.jsonl")
    assert (code, out, stub.asked) == (2, "", [])
    assert err == "error: prompts.jsonl:17: duration: must be one of 6, 8, 10, not 7\nhint: nothing was sent\n"


def test_twenty_of_many_wrong_lines_are_shown(run: Run) -> None:
    write("prompts.jsonl", '{"prompt": "", "model": "ltx-2-pro"}\n' * 30)
    _, _, err = run(None, "submit", "prompts.jsonl")
    assert len(err.splitlines()) == 22
    assert err.splitlines()[20] == "error: and 10 more"


def test_json_is_all_there_is_on_stdout(run: Run) -> None:
    write("prompts.jsonl", GOOD)
    with serve_stub(Answer(201, batch())) as stub:
        code, out, _ = run(stub, "submit", "prompts.jsonl", "--json")
    assert code == 0
    assert json.loads(out) == batch()


def test_a_refusal_by_the_api_names_the_lines_of_the_file(run: Run) -> None:
    write("prompts.jsonl", f"\n{GOOD}\n{GOOD}")
    refusal = problem(422, "wrong", ("jobs.0.input.duration", "must be 6"), ("jobs.1", "is strange"))
    with serve_stub(refusal) as stub:
        code, _, err = run(stub, "submit", "prompts.jsonl")
    assert code == 2
    assert [line for line in err.splitlines() if line.startswith("error")] == [
        "error: prompts.jsonl:2: duration: must be 6",
        "error: prompts.jsonl:4: is strange",
    ]


def test_a_name_that_is_taken_asks_for_another(run: Run) -> None:
    write("prompts.jsonl", GOOD)
    with serve_stub(problem(409, "a batch named 'pilot' exists already")) as stub:
        code, _, err = run(stub, "submit", "prompts.jsonl", "--batch", "pilot")
    assert code == 2
    assert err.endswith("error: a batch named 'pilot' exists already\nhint: choose another name with --batch\n")


def test_a_name_that_cannot_be_is_refused_before_anything_is_sent(run: Run) -> None:
    write("prompts.jsonl", GOOD)
    code, _, err = run(None, "submit", "prompts.jsonl", "--batch", "../up")
    assert code == 2
    assert err.startswith("error: --batch: must be 1 to 64 letters")


def test_a_batch_without_a_name_is_named_after_its_file_and_the_time() -> None:
    name = choose_name(None, "/x/My prompts (2).jsonl")
    assert name.startswith("My-prompts--2-2")
    assert choose_name(None, "-").startswith("stdin-20")
    assert choose_name(None, "___.csv").startswith("batch-20")
    assert len(choose_name(None, "x" * 300 + ".csv")) <= 64


def test_no_file_s_name_makes_a_batch_name_that_would_be_refused() -> None:
    for stem in ("-a", ".hidden", "ä", "a/b", "1", "日本", "a" * 100, "a.b_c-d"):
        made = choose_name(None, f"{stem}.txt")
        assert choose_name(made, "x") == made
    with pytest.raises(InvalidInput):
        choose_name("", "x")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of a command, which it does not make."""
    made: list[float] = []
    monkeypatch.setattr("cli.prompt_file.push.sleep", made.append)
    return made


LOST = [
    Answer(drop=True),
    Answer(502, b"<html>"),
    problem(503, "the database is away"),
    Answer(409, problem(409, "it is being carried out").body, {"Retry-After": "2"}),  # its own first request
]


@pytest.mark.parametrize("lost", LOST)
def test_a_push_whose_answer_is_lost_is_repeated_and_buys_nothing_twice(
    run: Run, pauses: list[float], lost: Answer
) -> None:
    write("prompts.jsonl", GOOD * 2)
    with serve_stub(lost, lost, Answer(200, batch(repeated=True))) as stub:
        code, out, err = run(stub, "submit", "prompts.jsonl", "--batch", "pilot")
    assert (code, pauses) == (0, [1, 2])
    assert [(asked.method, asked.body["on_repeat"]) for asked in stub.asked] == [("POST", "same_jobs")] * 3
    assert len({asked.headers["idempotency-key"] for asked in stub.asked}) == 1
    assert "trying again in 1 s" in err
    assert "this file was pushed as pilot" in err
    assert "batch  pilot" in out


def test_a_push_that_is_never_answered_says_how_to_go_on(run: Run, pauses: list[float]) -> None:
    write("prompts.jsonl", GOOD)
    with serve_stub(Answer(drop=True)) as stub:
        code, _, err = run(stub, "submit", "prompts.jsonl", "--batch", "pilot")
    assert (code, len(stub.asked)) == (3, 1 + len(PAUSES_SECONDS))
    assert "run the same command again: if the batch was stored, nothing is bought twice" in err
    assert err.index("as pilot") < err.index("no answer")


def test_the_same_jobs_are_bought_again_only_on_request(run: Run) -> None:
    write("prompts.jsonl", GOOD)
    with serve_stub(Answer(201, batch())) as stub:
        run(stub, "submit", "prompts.jsonl", "--again")
    assert stub.asked[0].body["on_repeat"] == "same_name"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (Answer(200, batch(created_at="2999-01-01T00:00:00Z")), "batch pilot is stored with 2 jobs"),
        (Answer(200, batch()), "`rushes batch show pilot` shows whether the batch is stored"),  # an older one
        (problem(404, "no batch"), "`rushes batch show pilot` shows whether the batch is stored"),
        (Answer(drop=True), "`rushes batch show pilot` shows whether the batch is stored"),
    ],
)
def test_ctrl_c_during_a_push_says_whether_the_batch_is_stored(
    run: Run, monkeypatch: pytest.MonkeyPatch, answer: Answer, hint: str
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.prompt_file.push._push_until_answered", interrupt)
    write("prompts.jsonl", GOOD)
    with serve_stub(answer) as stub:
        code, _, err = run(stub, "submit", "prompts.jsonl", "--batch", "pilot")
    assert code == 130
    assert f"error: interrupted\nhint: {hint}" in err


def test_the_jobs_are_shown_before_anything_is_sent(run: Run) -> None:
    write("prompts.txt", "# scenes\na fox in the snow\na hen\na fox in the snow\n")
    arguments = ("submit", "prompts.txt", "--model", "ltx-2-pro", "--batch", "pilot", "--dry-run")
    code, out, err = run(None, *arguments)
    assert (code, out.splitlines()) == (
        0,
        ["batch   pilot", "jobs    3", "cost    $1.08", "pushed  nothing: this is a dry run"],
    )
    assert err.splitlines() == [
        "prompts.txt: 3 jobs for $1.08 (ltx-2-pro)",
        "  first     a fox in the snow",
        "  last      a fox in the snow",
        "  shortest  a hen",
        "  left out  1 comment",
        "warning: lines 2 and 4 ask for the same video, which is bought for each of them",
    ]
    code, out, _ = run(None, *arguments, "--takes", "2", "--json")
    plan = json.loads(out)
    assert (plan["batch"], plan["jobs"], plan["cost"], len(plan["orders"])) == ("pilot", 6, "2.1600", 6)


def test_a_push_that_costs_too_much_is_refused_or_confirmed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write("prompts.jsonl", GOOD * 2)
    code, _, err = run(None, "submit", "prompts.jsonl", "--max-cost", "0.5")
    assert code == 2
    assert "error: --max-cost: the jobs cost $0.72: nothing was pushed" in err
    monkeypatch.setenv("RUSHES_CONFIRM_ABOVE", "0.5")
    monkeypatch.setattr("cli.prompt_file.options.can_ask", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda question, **_: "no" in question)
    code, _, err = run(None, "submit", "prompts.jsonl")
    assert code == 2
    assert "error: not confirmed: nothing was pushed" in err
    with serve_stub(Answer(201, batch())) as stub:
        assert run(stub, "submit", "prompts.jsonl", "--yes")[0] == 0


def test_a_folder_that_cannot_be_written_is_refused_before_the_push(run: Run) -> None:
    write("prompts.jsonl", GOOD)
    write("films", "a file")
    code, _, err = run(None, "submit", "prompts.jsonl", "--download", "films")
    assert code == 1
    assert "error: the folder films cannot be written: file exists" in err


def test_an_api_that_is_away_is_exit_code_3_and_a_hint(run: Run) -> None:
    write("prompts.jsonl", GOOD)
    code, _, err = run(None, "submit", "prompts.jsonl")
    assert code == 3
    assert err.splitlines()[-2:] == [
        "error: the API at http://127.0.0.1:9 cannot be reached",
        "hint: start it with `rushes up`, or set RUSHES_URL to where it runs",
    ]


def test_a_database_that_is_away_is_exit_code_3_and_a_hint(run: Run) -> None:
    with serve_stub(problem(503, "the database cannot be reached", **{"Retry-After": "2"})) as stub:
        code, _, err = run(stub, "batch", "list")
    assert code == 3
    assert err.startswith("error: the database cannot be reached\nhint: try again in 2 s")


def test_waiting_shows_progress_and_ends_with_the_batch(run: Run) -> None:
    write("prompts.jsonl", GOOD * 2)
    with serve_stub(
        Answer(201, batch(done=0)),
        Answer(200, batch(done=0, states={"queued": 2})),
        Answer(200, batch(folder="/srv/renders/pilot")),
    ) as stub:
        code, out, err = run(stub, "submit", "prompts.jsonl", "--batch", "pilot", "--wait")
    assert code == 0
    assert "pilot: 0/2 done · 2 queued" in err
    assert "pilot: 2/2 done · 2 succeeded" in err
    assert "2 of 2 ended: 2 succeeded" in out
    assert "folder     /srv/renders/pilot" in out  # the server's, not one of this folder


def test_a_live_view_says_what_stops_the_account_and_when_it_works_again(run: Run) -> None:
    stopped = {"condition": "no_credit", "message": "the account has no credit (402)", "what_to_do": "top up"}
    waiting = {"done": 0, "states": {"queued": 2}, "time_left_unknown": "no_credit"}
    write("prompts.jsonl", GOOD * 2)
    with serve_stub(
        Answer(201, batch(done=0)), Answer(200, batch(**waiting, account=stopped)), Answer(200, batch())
    ) as stub:
        _, _, err = run(stub, "submit", "prompts.jsonl", "--batch", "pilot", "--wait")
    lines = err.splitlines()
    began = lines.index("the account has no credit (402)")
    assert lines[began + 1] == "top up"
    assert lines[began + 2].endswith("time left unknown: the account has no credit")
    assert "the account works again" in lines[began + 3 :]


def test_a_trial_with_fast_renders_needs_the_simulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAVESPEED_API_KEY", "wsk_1")
    with pytest.raises(CommandError, match="--fast works only with simulated renders"):
        run_stack(workers=1, port=0, flower_port=0, simulator_port=0, fast=True, verbose=False)


def test_a_fast_trial_ends_24_prompts_within_a_minute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WAVESPEED_API_KEY", raising=False)
    simulators: list[SimulatorSettings] = []

    def begin(_: Stack, __: str, command: list[str], **___: Any) -> None:
        simulators.append(read_settings(command[1:]))
        raise Interrupted

    monkeypatch.setattr(Stack, "start", lambda stack: stack._start_provider())
    monkeypatch.setattr(Stack, "_start_process", begin)
    for fast in (False, True):
        run_stack(workers=1, port=0, flower_port=0, simulator_port=0, fast=fast, verbose=False)
    default, trial = ((24 / each.submits_per_minute, 24 / each.slots * each.cap_seconds / 60) for each in simulators)
    assert max(default) > 10  # minutes
    assert sum(trial) < 1


def test_the_installed_command_shows_its_version() -> None:
    rushes = Path(sys.executable).with_name("rushes")
    ended = subprocess.run([rushes, "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout == f"rushes {metadata.version('rushes')}\n"


def test_waiting_for_a_batch_with_a_failed_job_exits_with_1_and_says_why(run: Run) -> None:
    write("prompts.jsonl", GOOD * 2)
    ended = batch(states={"succeeded": 1, "failed": 1})
    failed = {"items": [job(state="failed", error={"code": "input", "message": "no such image"})], "next_cursor": None}
    with serve_stub(Answer(201, batch()), Answer(200, ended), Answer(200, failed)) as stub:
        code, out, _ = run(stub, "submit", "prompts.jsonl", "--batch", "pilot", "--wait")
    assert code == 1
    assert "no such image" in out


def test_ctrl_c_while_waiting_says_that_the_batch_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.commands.submit.wait_for_batch", interrupt)
    write("prompts.jsonl", GOOD)
    with serve_stub(Answer(201, batch())) as stub:
        code, out, err = run(stub, "submit", "prompts.jsonl", "--batch", "pilot", "--wait", "--json")
    assert (code, out) == (130, "")
    assert err.endswith(
        "error: interrupted\n"
        "hint: the batch continues without this command; `rushes batch show pilot --watch` follows it\n"
    )


FOO = hashlib.sha256(b"foo").hexdigest()
VIDEO = {"sha256": FOO, "bytes": 3, "file_name": "../1-a-fox.mp4"}


def serve_videos(*answers: Answer, **video: Any) -> Any:
    return serve_stub(
        Answer(200, {"items": [job(video=VIDEO | video), job(state="failed")], "next_cursor": None}), *answers
    )


def test_videos_are_downloaded_whole_and_only_once(run: Run) -> None:
    write("prompts.jsonl", GOOD)
    jobs = Answer(200, {"items": [job(video=VIDEO), job(state="failed")], "next_cursor": None})
    answers = [Answer(201, batch()), Answer(200, batch()), jobs, Answer(200, b"foo")]
    for had in ("", " (1 already there)"):
        with serve_stub(*answers) as stub:
            code, _, err = run(stub, "submit", "prompts.jsonl", "--batch", "pilot", "--download", "films")
        assert code == 0
        assert f"1 video in films{had}\n" in err
        assert sorted(path.name for path in Path("films").iterdir()) == ["1-a-fox.mp4", "pilot-results.csv"]
        assert Path("films/1-a-fox.mp4").read_bytes() == b"foo"


def test_a_cut_download_is_continued(run: Run) -> None:
    write(f"films/.{UUID}.part", "f")
    with serve_videos(Answer(206, b"oo")) as stub:
        code, _, _ = run(stub, "batch", "download", "pilot", "films")
    assert (code, stub.asked[1].headers["Range"]) == (0, "bytes=1-")
    assert Path("films/1-a-fox.mp4").read_bytes() == b"foo"


def test_a_download_that_was_killed_before_its_end_needs_no_request(run: Run) -> None:
    write(f"films/.{UUID}.part", "foo")
    with serve_videos() as stub:
        assert run(stub, "batch", "download", "pilot", "films")[0] == 0
    assert len(stub.asked) == 1
    assert Path("films/1-a-fox.mp4").read_bytes() == b"foo"


def test_two_commands_do_not_fetch_one_file_at_once(run: Run) -> None:
    write(f"films/.{UUID}.part", "f")
    with Path(f"films/.{UUID}.part").open("ab") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        with serve_videos(Answer(206, b"oo")) as stub:
            code, _, err = run(stub, "batch", "download", "pilot", "films")
    assert code == 1
    assert f"error: the file of job {UUID} is being fetched by another process" in err


def test_the_same_jobs_bought_again_are_found_by_name(run: Run, pauses: list[float]) -> None:
    write("prompts.jsonl", GOOD)
    with serve_stub(Answer(drop=True)) as stub:
        code, _, err = run(stub, "submit", "prompts.jsonl", "--batch", "pilot", "--again")
    assert code == 3
    assert "repeat the command with --batch pilot --again: if the batch was stored" in err


def test_a_download_never_overwrites_another_file(run: Run) -> None:
    write("films/1-a-fox.mp4", "mine")
    for _ in range(2):
        with serve_videos(Answer(200, b"foo")) as stub:
            assert run(stub, "batch", "download", "pilot", "films")[0] == 0
        assert Path("films/1-a-fox.mp4").read_bytes() == b"mine"
        assert Path(f"films/1-a-fox.{UUID[-12:]}.mp4").read_bytes() == b"foo"


def test_a_file_that_appears_meanwhile_stays_where_links_are_impossible(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that ignores case: another file takes the name after it was found free."""

    def appear_and_refuse(part: Path, target: Path) -> None:
        Path("films/1-a-fox.mp4").write_text("another's")
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", appear_and_refuse)
    with serve_videos(Answer(200, b"foo")) as stub:
        assert run(stub, "batch", "download", "pilot", "films")[0] == 0
    assert Path("films/1-a-fox.mp4").read_text() == "another's"
    assert Path(f"films/1-a-fox.{UUID[-12:]}.mp4").read_bytes() == b"foo"


def test_the_results_of_a_batch_are_a_table(run: Run) -> None:
    own = {"client_ref": "S-1", "metadata": {"notes": "good", "take": 2, "state": "own"}}
    jobs = [job(number=2, id="b", state="failed", error={"message": "no"}), job(video=VIDEO, **own)]
    with serve_stub(Answer(200, {"items": jobs, "next_cursor": None})) as stub:
        _, table, _ = run(stub, "batch", "export", "pilot")
        _, lines, _ = run(stub, "batch", "export", "pilot", "--format", "jsonl")
    assert list(csv.reader(table.splitlines())) == [
        ["number", "prompt", "client_ref", "model", "state", "cost", "file", "sha256", "error", "id", "notes", "take"],
        ["1", "a fox", "S-1", "ltx-2-pro", "succeeded", "0.3600", VIDEO["file_name"], FOO, "", UUID, "good", "2"],
        ["2", "a fox", "", "ltx-2-pro", "failed", "0.3600", "", "", "no", "b", "", ""],
    ]
    assert json.loads(lines.splitlines()[0])["metadata"] == own["metadata"]


def test_a_damaged_download_leaves_no_file(run: Run) -> None:
    with serve_videos(Answer(200, b"fo"), sha256="0" * 64) as stub:
        code, _, err = run(stub, "batch", "download", "pilot", "films")
    assert code == 1
    assert "arrived damaged or was cut off 3 times" in err
    assert "hint: `rushes batch download pilot films` goes on from here" in err
    assert not Path("films/1-a-fox.mp4").exists()


def test_an_estimate_names_the_cost_by_video_model(run: Run) -> None:
    write("prompts.txt", "a\nb\n")
    price = {
        "jobs": 2,
        "cost": "1.2000",
        "cost_by_model": {"lightricks/ltx-2-pro/text-to-video": "1.2000"},
        "warnings": [],
    }
    with serve_stub(Answer(200, price)) as stub:
        code, out, _ = run(stub, "estimate", "prompts.txt", "--model", "ltx-2-pro", "--duration", "10")
    assert code == 0
    assert stub.asked[0].path == "/v1/estimate"
    assert out.splitlines() == [
        *("jobs  2", "cost  $1.20"),
        *("MODEL                               COST", "lightricks/ltx-2-pro/text-to-video  $1.20"),
    ]


def test_a_job_is_shown_with_its_wait_its_purchases_and_its_history(run: Run) -> None:
    bought = {
        "id": UUID,
        "attempt": 1,
        "state": "failed",
        "provider_id": "pred-1",
        "price": "0.3600",
        "posted_at": "2026-11-05T12:00:01Z",
        "ended_at": "2026-11-05T12:00:08Z",
        "is_duplicate": False,
        "video_url": None,
        "unverified_url": None,
        "error": {"message": "GPU \x1b[31mfell over"},
    }
    shown = job(state="queued", waits_for="waits for a slot: 2 of 2 are in use", predictions=[bought], ended_at=None)
    stored = {"at": "2026-11-05T12:00:00Z", "kind": "job.succeeded", "detail": {"url": "file:///v/1.mp4", "bytes": 9}}
    events = {
        "items": [{"id": 1, "at": "2026-11-05T12:00:00Z", "kind": "job.pushed", "detail": {}}, stored],
        "next_cursor": None,
    }
    with serve_stub(Answer(200, shown), Answer(200, events)) as stub:
        code, out, _ = run(stub, "job", "show", UUID)
    assert code == 0
    assert [asked.path for asked in stub.asked] == [f"/v1/jobs/{UUID}", f"/v1/jobs/{UUID}/events?limit=500"]
    for part in (
        "waits for a slot: 2 of 2",
        "pred-1",
        "GPU [31mfell over",
        "job.pushed",
        "bytes=9",
        "file:///v/1.mp4",
        "pilot/1",
    ):
        assert part in out
    assert "\x1b" not in out


def test_a_job_s_json_holds_its_history(run: Run) -> None:
    with serve_stub(Answer(200, job()), Answer(200, {"items": [{"id": 1}], "next_cursor": None})) as stub:
        code, out, _ = run(stub, "job", "show", UUID, "--json")
    assert code == 0
    assert json.loads(out) == {**job(), "events": [{"id": 1}]}


def test_jobs_are_listed_by_state_batch_and_model(run: Run) -> None:
    with serve_stub(Answer(200, {"items": [job()], "next_cursor": "more"})) as stub:
        code, out, _ = run(stub, "job", "list", "--state", "failed", "-b", "pilot", "-m", "ltx-2-pro", "-n", "1")
    assert code == 0
    assert stub.asked[0].path == "/v1/jobs?state=failed&batch=pilot&model=ltx-2-pro&sort=created&limit=1"
    shown = [each.strip() for each in out.splitlines()[1].split("  ") if each]
    assert (shown[:2], shown[3:]) == ([UUID, "succeeded"], ["pilot/1", "ltx-2-pro", "a fox"])


@pytest.mark.parametrize(
    ("words", "answer", "said"),
    [
        (("retry",), {"state": "queued", "job": job()}, f"job {UUID} is queued"),
        (("cancel",), {"outcome": "cancelled", "job": job()}, f"job {UUID} is cancelled"),
        (
            ("cancel",),
            {"outcome": "requested", "job": job()},
            f"job {UUID} will be cancelled: its render cannot be stopped",
        ),
    ],
)
def test_jobs_are_retried_and_cancelled(run: Run, words: tuple[str], answer: dict[str, Any], said: str) -> None:
    with serve_stub(Answer(202, answer)) as stub:
        code, out, _ = run(stub, "job", *words, UUID)
    assert code == 0
    assert (stub.asked[0].method, stub.asked[0].path) == ("POST", f"/v1/jobs/{UUID}/{words[0]}")
    assert out.startswith(said)


def test_a_refused_cancel_is_reported_in_the_api_s_words(run: Run) -> None:
    with serve_stub(problem(409, f"job {UUID} has ended: it is succeeded")) as stub:
        code, _, err = run(stub, "job", "cancel", UUID)
    assert (code, err) == (2, f"error: job {UUID} has ended: it is succeeded\n")


def test_batches_are_listed_and_an_empty_list_says_what_to_do(run: Run) -> None:
    with serve_stub(Answer(200, {"items": [batch()], "next_cursor": None})) as stub:
        assert "pilot  2/2   2 succeeded  $0.72" in run(stub, "batch", "list")[1]
    with serve_stub(Answer(200, {"items": [], "next_cursor": None})) as stub:
        code, out, err = run(stub, "batch", "list")
    assert (code, out) == (0, "")
    assert "`rushes submit` pushes one" in err


def test_the_folder_is_only_reported_where_it_is_on_this_machine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.commands.batch.LOOPBACK", ())
    with serve_stub(Answer(200, batch())) as stub:
        assert "folder" not in run(stub, "batch", "show", "pilot")[1]


def test_wrong_settings_are_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSHES_SLOTS", "many")
    code, _, err = run(None, "batch", "list")
    assert code == 2
    assert err.startswith("error: RUSHES_SLOTS: ")


@pytest.mark.parametrize(
    ("dollars", "shown"),
    [("0.3600", "$0.36"), ("14.0000", "$14.00"), ("1234.5050", "$1,234.505"), ("0.0004", "$0.0004"), (None, "")],
)
def test_money_is_shown_to_the_cent_or_as_precise_as_it_is(dollars: str | None, shown: str) -> None:
    assert show_money(dollars) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (None, "unknown")],
)
def test_lengths_of_time_are_shown_as_clocks(seconds: float | None, shown: str) -> None:
    assert show_seconds(seconds) == shown


def test_text_is_one_line_without_control_characters() -> None:
    assert show_text("a\nb\x1b]0;x\x07  c") == "a b ]0;x c"
    assert show_text("x" * 100, limit=10) == "x" * 9 + "…"


def test_a_made_name_holds_the_time_in_utc_and_is_never_made_twice() -> None:
    from datetime import datetime, timedelta, timezone  # noqa: PLC0415

    late = datetime(2026, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-2)))
    first, second = name_for("a", now=late), name_for("a", now=late)
    assert first.startswith("a-20270101-013000-")
    assert first != second


def test_a_table_that_no_terminal_shows_is_never_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table(("FIRST", "A LONG HEADING"), [("x" * 30, "y" * 30)])
    heading, row = capsys.readouterr().out.splitlines()
    assert (heading.split(maxsplit=1), row.split()) == (["FIRST", "A LONG HEADING"], ["x" * 30, "y" * 30])
