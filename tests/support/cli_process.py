"""`rushes` as a process of its own, as a person runs it, and what it may have left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

from sandbox.servers.folder import Lock

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 90.0
QUICK = {
    "RUSHES_SLOTS": "8",
    "RUSHES_SUBMITS_PER_MINUTE": "600",
    "RUSHES_RENDER_MEDIAN_SECONDS": "1",
    "RUSHES_POLL_SHORTEST_SECONDS": "0.2",
}
"""An account that renders in seconds."""


class Rushes:
    """A running `rushes`, with both of its outputs line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def text(self) -> str:
        """What it has said so far."""
        return "\n".join(self.lines)

    def wait_for(self, words: str) -> str:
        """The first line that holds these words; fails when they do not come, or it ends before."""
        self.wait_until(lambda: words in self.text or not self._reader.is_alive(), what=f"says {words!r}")
        found = next((line for line in self.lines if words in line), None)
        assert found is not None, f"it ended without saying {words!r}:\n{self.text}"
        return found

    def wait_until(self, condition: Callable[[], bool], *, what: str) -> None:
        """Returns when the condition holds; fails after a while with all that was said."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not in {PATIENCE_SECONDS:g} s: {what}\n{self.text}"
            time.sleep(0.02)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Its exit code, once everything it said is read."""
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join()
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))


@contextlib.contextmanager
def start_rushes(*words: str, folder: Path, **variables: str) -> Iterator[Rushes]:
    """Runs in `folder`, with stderr among stdout; ended the hard way if the test has not ended it."""
    process = subprocess.Popen(
        [*COMMAND, *words],
        cwd=folder,
        env=clean_environment(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    rushes = Rushes(process)
    try:
        yield rushes
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_SECONDS)
            process.kill()
        rushes.wait()
        assert process.stdout is not None
        process.stdout.close()


def run_rushes(*words: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs it to its end."""
    return subprocess.run(
        [*COMMAND, *words],
        cwd=folder,
        env=clean_environment(variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


def clean_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without settings, and with these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RUSHES_", "WAVESPEED_"))}
    return {**inherited, "PYTHONPATH": str(ROOT), **variables}


def find_left(folder: Path) -> list[str]:
    """The command lines of processes that still work for a data folder, and the locks that embedded servers hold."""
    return [
        *(
            " ".join(process.info["cmdline"])
            for process in psutil.process_iter(["cmdline"])
            if _works_for(process, folder)
        ),
        *(str(lock) for lock in folder.rglob("server.lock") if _is_held(lock)),
    ]


def _is_held(lock: Path) -> bool:
    """Whether a process that may run as another user holds this lock."""
    probe = Lock(lock)
    is_held = not probe.acquire()
    probe.release()
    return is_held


def _works_for(process: psutil.Process, folder: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        words = process.cmdline()
        places = [*words, process.cwd(), process.environ().get("RUSHES_DATA_DIR", "")]
    except psutil.Error:
        return False
    is_stack = not any(word.startswith("from cli.main") for word in words)
    return is_stack and any(str(folder) in place for place in places)


COMMAND = (sys.executable, "-c", "from cli.main import run; run()")
