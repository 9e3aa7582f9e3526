"""The life of an embedded server, the same for each kind: claim the folder, start, serve, stop or be killed."""

import contextlib
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from rushes.errors import Conflict, Unavailable
from sandbox.servers.folder import ServerFolder
from sandbox.servers.ports import HOST, PortHold, find_obstacle, free_port
from sandbox.servers.process import end, feed, find_holders, kill_family, signal_holders, spawn, wait_until

PORT_ATTEMPTS = 5
PORT_CLASH = "Address already in use"  # both servers log the system's own words


class EmbeddedServer(ABC):
    """One server in one folder, alive no longer than the thread that starts it.

    Linux: the server stops by itself when the launcher dies, even by kill -9. The kernel ties that to the *thread*, so
    `start` wants the main thread. macOS has no such thing: there the next `start` ends what a dead launcher left.
    """

    title: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    start_seconds: ClassVar[float] = 60.0  # recovery after a crash may replay a lot
    stop_seconds: ClassVar[float] = 30.0
    leftover_seconds: ClassVar[float] = 10.0
    killed_seconds: ClassVar[float] = 60.0  # none of its own doing: until the kernel has got round to it

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        """Touches nothing yet. Without a port, a free one is chosen at the first start and kept while it stays free.

        Linux: from the first start on it is held, also while the server does not run, until the end of a `with` block.
        """
        self._folder = ServerFolder(folder)
        self._fixed_port = port
        self._port = port
        self._hold = PortHold()
        self._password = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, password included. Raises Unavailable before the first start."""

    @property
    def folder(self) -> Path:
        """Where data, password and log are."""
        return self._folder.path

    @property
    def pid(self) -> int:
        """The server's process id. Raises Unavailable when it was not started, or stopped."""
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
        """Starts the server unless it runs, waits until it answers, and returns its URL. Call it from the main thread.

        The first start sets the data up; data and password outlive stop and kill. Raises Conflict when the folder is in
        use by another process or the fixed port is taken, Unavailable (with the last log lines) when it does not start.
        """
        if self.running:
            return self.url
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start() wants the main thread: the server dies with the thread that started it")
        self._folder.claim()
        try:
            self._end_leftover()
            self._prepare()
            self._launch()
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Orderly: the server ends its work within `stop_seconds`, or is killed. Harmless when it does not run."""
        if self._process is not None:
            end(self._process, number=self.stop_signal, seconds=self.stop_seconds)
        self._let_go()

    def kill(self) -> None:
        """SIGKILL, as in a crash: on return no process of the server holds a file. `start` recovers the data."""
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
        """Sets the password, and makes `data/` if this is the first start."""

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """What runs the server; everybody on the machine can read it, so nothing secret."""

    def _configuration(self) -> str:
        """What the server reads from its standard input."""
        return ""

    def _environment(self) -> Mapping[str, str]:
        """What the server finds in its environment besides the usual."""
        return {}

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether it takes connections; asked every few milliseconds."""

    def _launch(self) -> None:
        """Starts on a free port, and on another one when somebody else was faster."""
        for _ in range(PORT_ATTEMPTS):
            self._choose_port()
            self._spawn(self._command(), owning=self._folder.data)
            # Asked once more, it may take longer than it is given, and would seem not to have started.
            if self._wait_until_ready():
                return
            if self.running or PORT_CLASH not in self._folder.read_log():
                break
        raise self._failure()

    def _wait_until_ready(self) -> bool:
        """Whether it answered before it ended and in time."""
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
        if self._fixed_port is not None:
            raise Conflict(
                f"port {self._fixed_port} on {HOST} cannot be used for {self.title}: {obstacle}\n"
                f"hint: choose another port, or end the program that uses it"
            )
        self._port = free_port()
        self._hold.release()
        self._hold.take(self._port)

    def _spawn(self, command: Sequence[str | Path], *, owning: Path) -> None:
        """Starts a process that alone may write to the data, logs to our log and dies with us."""
        self._end_leftover()
        lock = self._folder.server_lock
        with self._folder.open_log() as log:
            self._process = spawn(
                command,
                folder=owning,
                death_signal=self.stop_signal,
                log=log,
                lock=lock.file,
                environment=self._environment(),
            )
        lock.release()  # ours; the server holds on to it
        feed(self._process, self._configuration())

    def _end_leftover(self) -> None:
        """Sees to it that nothing writes to the data any more; then the server lock is ours."""
        lock = self._folder.server_lock
        for number, seconds in ((self.stop_signal, self.leftover_seconds), (signal.SIGKILL, self.killed_seconds)):
            if lock.acquire():
                return
            signal_holders(lock.path, number)
            if wait_until(lock.acquire, seconds=seconds):
                return
        holders = ", ".join(str(process.pid) for process in find_holders(lock.path)) or "unknown to us"
        raise Conflict(
            f"{self._folder.data} is still in use, by processes that could not be ended: {holders}\n"
            f"hint: end them by hand, then start again"
        )

    def _let_go(self) -> None:
        if self._process is not None:
            self._process = None
            with contextlib.suppress(FileNotFoundError):  # somebody removed the folder under us
                wait_until(self._folder.server_lock.acquire, seconds=self.leftover_seconds)  # its children end too
        self._folder.release()

    def _failure(self) -> Unavailable:
        code = None if self._process is None else self._process.poll()
        what = f"gave no answer in {self.start_seconds:g} s" if code is None else f"ended with exit code {code}"
        return Unavailable(
            f"{self.title} {what}; the last lines of {self._folder.log}:\n{self._folder.tail_log()}\n"
            f"hint: the lines above say why; a full disk, another user's folder and damaged data are common"
        )
