"""A function in a process of its own: its result comes back, its death is reported, and nothing of it is left."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.child_process import ChildProcess
from stack.errors import CommandError
from stack.interrupts import Interrupted


def add_one(number: int, check: Callable[[], None]) -> int:
    check()
    return number + 1


def die(number: int, check: Callable[[], None]) -> int:
    os._exit(number)


def wait_for_ever(folder: Path, check: Callable[[], None]) -> None:
    (folder / "began").touch()
    try:
        while True:
            check()
            time.sleep(0.01)
    except Interrupted:
        (folder / "asked to stop").touch()


def check_nothing() -> None:
    """Nobody asks to stop."""


def test_the_result_of_a_child_process_comes_back() -> None:
    with ChildProcess(add_one, 1) as child:
        assert child.wait(check_nothing) == 2


def test_a_process_that_died_is_reported() -> None:
    with ChildProcess(die, 3) as child, pytest.raises(CommandError, match="without a result"):
        child.wait(check_nothing)


def test_a_caller_that_leaves_early_stops_the_process_and_waits_for_it(tmp_path: Path) -> None:
    def give_up_once_it_runs() -> None:
        if (tmp_path / "began").exists():
            raise Interrupted

    with pytest.raises(Interrupted), ChildProcess(wait_for_ever, tmp_path) as child:
        child.wait(give_up_once_it_runs, every=0.01)
    assert (tmp_path / "asked to stop").exists()
