"""Every failure has one shape: `error: ...`, `hint: ...`, an exit code, and no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cli.app import main
from cli.errors import report, run_guarded
from cli.prompt_file.records import FileRefused, LineProblem
from models.db.errors import DatabaseAway
from rushes.errors import Conflict, InvalidInput, NotFound, Problem, Unavailable
from rushes_client.errors import ApiAway, Declined
from stack.errors import CommandError, ServiceAway

ROOT = Path(__file__).resolve().parents[3]

UNEXPECTED = """\
error: unexpected: ZeroDivisionError: no
hint: this is a bug in rushes; `rushes doctor` checks the rest
"""


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (CommandError("a", "b", hint="c\nd", exit_code=7), 7, "error: a\nerror: b\nhint: c\nhint: d\n"),
        (ServiceAway("gone"), 3, "error: gone\n"),
        (ApiAway("gone", hint="wait"), 3, "error: gone\nhint: wait\n"),
        (Declined(409, "it exists"), 2, "error: it exists\n"),
        (Declined(500, "it broke"), 1, "error: it broke\nhint: see the API's log\n"),
        (
            FileRefused("f", [LineProblem(17, Problem("duration", "wrong"))]),
            2,
            "error: f:17: duration: wrong\nhint: nothing was sent\n",
        ),
        (InvalidInput([Problem("RUSHES_SLOTS", "must be 1 or more")]), 2, "error: RUSHES_SLOTS: must be 1 or more\n"),
        (Conflict("taken\nhint: choose another"), 2, "error: taken\nhint: choose another\n"),
        (NotFound("no such thing"), 2, "error: no such thing\n"),
        (Unavailable("away\nhint: wait"), 3, "error: away\nhint: wait\n"),
        (
            DatabaseAway("the database cannot be reached"),
            3,
            "error: the database cannot be reached\nhint: start it, or set RUSHES_DATABASE_URL to where it runs\n",
        ),
        (
            typer.BadParameter("No good."),
            2,
            "error: invalid value: No good\nhint: rushes --help shows how it is used\n",
        ),
        (typer.Abort(), 130, "error: interrupted\n"),
        (FileNotFoundError(2, "No such file", "x"), 1, "error: x: no such file\n"),
        (
            ModuleNotFoundError("", name="psutil"),
            1,
            "error: the package psutil is not installed\nhint: pip install 'rushes[embedded]'\n",
        ),
        (
            ZeroDivisionError("no"),
            1,
            UNEXPECTED,
        ),
    ],
)
def test_every_error_is_printed_in_one_shape(
    error: Exception, code: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(error) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", shown)


def test_ctrl_c_exits_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert run_guarded(interrupted) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


@pytest.mark.parametrize("arguments", [["frobnicate"], ["submit"], ["submit", "f", "--duration", "x"], [], ["job"]])
def test_wrong_usage_exits_with_2_and_names_the_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "--help shows how it is used" in error


@pytest.mark.parametrize(
    "command",
    [
        "submit",
        "estimate",
        "batch show",
        "batch list",
        "job show",
        "job list",
        "failures",
        "job retry",
        "job cancel",
        "catalog",
        "up",
        "doctor",
    ],
)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert "Example" in out
    assert f"rushes {command}" in out.split("Example", 1)[1]


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    pipe_reader, pipe_writer = os.pipe()
    os.close(pipe_reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", "from cli.main import run; run()", "--help"],
            cwd=ROOT,
            stdout=pipe_writer,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(pipe_writer)
    assert ended.returncode == 1
    assert ended.stderr == b""


def test_output_that_cannot_show_a_character_escapes_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "from cli.main import run; run()", "submit", "fünf.doc"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"error: f\\xfcnf.doc: must end in")
