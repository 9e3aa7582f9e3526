"""A server's folder on disk: its data, password, log, and two locks that prevent a second server; and any log."""

import contextlib
import fcntl
import os
import secrets
from pathlib import Path
from typing import IO

from rushes.errors import Conflict

LOG_LIMIT_BYTES = 16 * 2**20
TAIL_BYTES, TAIL_LINES = 16 * 2**10, 15


class Lock:
    """An flock on a file. The kernel releases it when the last process that holds it dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self) -> bool:
        """Try to take the lock without waiting; returns whether it is held now."""
        if self._file is not None:
            return True
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Release our hold; processes that inherited the lock still hold it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @property
    def file(self) -> int:
        """The file descriptor, for child processes to inherit."""
        if self._file is None:
            raise RuntimeError(f"{self.path} is not held")
        return self._file

    def note(self, pid: int) -> None:
        """Write the holder's process id to the file, for people to read."""
        os.ftruncate(self.file, 0)
        os.pwrite(self.file, f"{pid}\n".encode(), 0)

    def find_holder(self) -> int | None:
        """The last process id written. Only for people to read, since it outlives the process."""
        with contextlib.suppress(OSError, ValueError):
            return int(self.path.read_text())
        return None


class ServerFolder:
    """`data/`, `password`, `server.log`, and two locks.

    The process that starts and stops the server holds `launcher.lock`. The server and all its children inherit
    `server.lock`: while it is held, a process may still write to `data/`, and no other server may start.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.data = self.path / "data"
        self.log = self.path / "server.log"
        self.launcher_lock = Lock(self.path / "launcher.lock")
        self.server_lock = Lock(self.path / "server.lock")
        self.password = self.path / "password"
        self._log_start = 0

    def claim(self) -> None:
        """Claim the folder until `release`; raises Conflict if another live launcher holds it."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_ours = self.launcher_lock.acquire()
        except OSError as error:
            raise Conflict(f"{self.path} cannot be used: {error}") from error
        if not is_ours:
            raise Conflict(
                f"{self.path} is in use by the running process {self.launcher_lock.find_holder()}\n"
                f"hint: stop that process first, or use another folder"
            )
        self.launcher_lock.note(os.getpid())

    def release(self) -> None:
        """Release the folder for other launchers."""
        self.server_lock.release()
        self.launcher_lock.release()

    def read_password(self, *, create: bool) -> str:
        """The server's password, fixed for the life of the folder; `create` makes a missing one (file mode 0600).

        Raises Conflict if it is missing and `create` is false.
        """
        with contextlib.suppress(FileNotFoundError):
            return self.password.read_text().strip()
        if not create:
            raise Conflict(
                f"{self.password} is missing, and without it nobody can log in\n"
                f"hint: put it back, or remove {self.path} to start afresh"
            )
        write_private(self.password, secrets.token_urlsafe(24) + "\n")
        return self.password.read_text().strip()

    def open_log(self) -> IO[bytes]:
        """Open the log for a new start; the caller closes it."""
        file = open_log(self.log)
        self._log_start = file.seek(0, os.SEEK_END)
        return file

    def read_log(self) -> str:
        """The log since the last start."""
        with contextlib.suppress(FileNotFoundError), self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")
        return ""

    def tail_log(self) -> str:
        """The last lines logged since the last start."""
        return tail_log(self.log, since=self._log_start)


def write_private(path: Path, text: str) -> None:
    """Write the whole file or nothing, with mode 0600 from the first byte."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def open_log(path: Path) -> IO[bytes]:
    """A log to append to; a long one is first renamed to `NAME.1`. The caller closes it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def tail_log(path: Path, *, since: int = 0) -> str:
    """The last lines of a log, indented, for an error message: only what was written after this many bytes."""
    try:
        with path.open("rb") as file:
            file.seek(max(since, path.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    except OSError:
        lines = []
    return "\n".join(f"  {line}" for line in lines) or "  (nothing was logged)"
