"""Services that a supervisor keeps alive: our processes and embedded servers, behind one interface."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rushes.errors import Unavailable
from sandbox.servers.embedded import EmbeddedServer
from sandbox.servers.folder import open_log
from sandbox.servers.process import tie_to_us

ROOT = Path(__file__).resolve().parent.parent


@dataclass(kw_only=True, eq=False)
class ProcessService:
    """A process in its own session, so that Ctrl-C reaches only the supervisor. `environment` is complete.

    Linux: the process gets SIGKILL when the thread that started it dies, even by kill -9, so call `start` in the main
    thread. A milder signal would not do: the servers are gone too, and a worker would wait for them instead of ending.
    The lowest `wave` is stopped first; equal waves are stopped together.
    """

    name: str
    words: Sequence[str | Path]
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    wave: int = 0
    patience_seconds: float = 10.0  # it may take this long to stop by itself
    stop_signal: signal.Signals = signal.SIGTERM
    sockets: Sequence[int] = ()  # descriptors of listening sockets that it gets
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it, also after it has ended. Raises `Unavailable` if the system cannot start it."""
        try:
            with open_log(self.log) as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own command lines
                    tie_to_us(self.words),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,  # `-A workers.app` must find our package, whatever is in the user's folder
                    env=dict(self.environment),
                    start_new_session=True,
                    pass_fds=self.sockets,
                )
        except OSError as error:
            raise Unavailable(f"{self.name} cannot be started: {error}") from error

    def find_ending(self) -> str | None:
        """How it ended, as text; None while it runs."""
        code = self._process.poll() if self._process is not None else 0
        return None if code is None else describe_code(code)

    def ask_to_stop(self) -> None:
        """Ask it to finish its work, and return at once."""
        if self._process is not None:
            self._process.send_signal(self.stop_signal)

    def end(self) -> None:
        """Send SIGKILL to the process and everything it started."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class ServerService:
    """An embedded server on a fixed port, which starts and stops itself cleanly."""

    patience_seconds = 0.0

    def __init__(self, server: EmbeddedServer, *, wave: int, log: Path) -> None:
        self.server = server
        self.name = server.title
        self.wave = wave
        self.log = log

    def start(self) -> None:
        self.server.start()

    def find_ending(self) -> str | None:
        return None if self.server.running else "its process is gone"

    def ask_to_stop(self) -> None:
        """Does nothing: `end` stops the server cleanly."""

    def end(self) -> None:
        self.server.stop()


Service = ProcessService | ServerService
"""Runs until it is stopped."""


def describe_code(code: int) -> str:
    """An exit code as readable text."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
