"""The artifact store on a disk."""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from io import BufferedReader
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import structlog

from rushes.artifacts.errors import StorageFull
from rushes.artifacts.naming import check_name
from rushes.errors import InvalidInput, NotFound, Problem, Unavailable

_SCRATCH = ".incoming"
_MARKER = ".rushes-store"
_PROBE_BYTES = 65_536
_FOLDER_MODE = 0o755
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.ENOTTY})
_FLUSH_DRIVE = getattr(fcntl, "F_FULLFSYNC", None)  # macOS, where fsync leaves the bytes in the drive's cache
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

log = structlog.get_logger(__name__)


class ArtifactStore:
    """Keeps finished files under names, in a folder on a disk that all workers and the API share.

    Unfinished files are in its subfolder `.incoming`. Every method may raise `StorageFull` or `Unavailable`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @property
    def root(self) -> Path:
        """The folder of the store."""
        return self._root

    def write_marker(self, marker: str) -> str:
        """Create the folder if it is missing, and write this marker if it has none. Returns the folder's marker."""
        path = self._root / _MARKER
        with storage_errors():
            _make_folder(self._root)
            with suppress(FileExistsError), path.open("x", encoding="ascii") as file:
                file.write(f"{marker}\n")
            _sync(path)
            _sync(self._root)
            found = path.read_text(encoding="ascii", errors="replace").strip()
        if not found:
            raise Unavailable(f"{path} is empty: a worker is writing it, or has died; if it stays empty, remove it")
        return found

    def require_marker(self, marker: str | None) -> None:
        """Raise `Unavailable` if the folder lacks this marker: its volume may be unmounted. None allows any folder."""
        path = self._root / _MARKER
        try:
            found = path.read_text(encoding="ascii", errors="replace").strip() if marker else None
        except FileNotFoundError:
            found = "missing"
        except OSError as error:
            raise Unavailable(f"the artifact storage cannot be read: {error.strerror or error}") from error
        if found != marker:
            fact = "is missing" if found == "missing" else "names another store"
            raise Unavailable(
                f"{self._root} is not the folder that keeps the videos: its file {_MARKER} {fact}. Mount the volume, "
                "or run `rushes account accept-store` to use this folder"
            )

    def measure_room(self) -> int:
        """Check that a short file can be written. Returns the free bytes."""
        with storage_errors():
            with tempfile.TemporaryFile(dir=self.scratch()) as probe:
                probe.write(b"\0" * _PROBE_BYTES)
                probe.flush()
            return shutil.disk_usage(self._root).free

    def scratch(self) -> Path:
        """Return a folder for unfinished files."""
        folder = self._root / _SCRATCH
        with storage_errors():
            _make_folder(folder)
        return folder

    def publish(self, *files: tuple[Path, str]) -> list[str]:
        """Move finished files to their names, in this order, each in one atomic step. Returns their URLs.

        Readers see either the whole file or the previous content under a name. Once this returns, the files survive a
        power cut: each file is flushed before it gets its name, and their folder once, after the last. Raises
        `InvalidInput` for a name that would leave the store; no file is then moved.
        """
        moves = [(source, self._root / check_name(name)) for source, name in files]
        with storage_errors():
            for source, target in moves:
                _make_folder(target.parent)
                _sync(source)
            for source, target in moves:
                source.replace(target)
            for folder in dict.fromkeys(target.parent for _, target in moves):
                _sync(folder)
        return [target.as_uri() for _, target in moves]

    def open(self, url: str) -> BufferedReader:
        """Open a published file for reading. Raises `NotFound`."""
        path = self.find_path(url)
        if path is None:
            raise NotFound(f"there is no stored file at {url}")
        with storage_errors():
            return path.open("rb")

    def find_path(self, url: str) -> Path | None:
        """Return the path of a published file, or None if it is gone."""
        path = self._locate(url)
        return path if path is not None and path.is_file() else None

    def remove(self, url: str) -> None:
        """Remove a published file; no error if it is gone. Raises `InvalidInput` for a URL outside the store.

        Raises `Unavailable` if the store's folder is missing: a file is not gone because its volume is not mounted.
        """
        path = self._locate(url)
        if path is None:
            raise InvalidInput([Problem("url", f"names no file of this store: {url!r}")])
        check_name(str(path.relative_to(self._root)))
        with storage_errors():
            self._root.stat()
            path.unlink(missing_ok=True)

    def keep_removed(self, urls: Iterable[str]) -> None:
        """Make removals durable: after a power cut, none of these files is there again."""
        folders = {path.parent for path in map(self._locate, urls) if path is not None}
        with storage_errors():
            for folder in filter(Path.is_dir, folders):
                _sync(folder)

    def remove_abandoned(self, *, older_than: timedelta) -> int:
        """Delete unfinished files without a write for `older_than` (their worker died). Returns how many."""
        oldest = time.time() - older_than.total_seconds()
        removed = 0
        with storage_errors():
            for path in self.scratch().iterdir():
                if _last_written(path) < oldest:
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def _locate(self, url: str) -> Path | None:
        """Return the path that a URL names, whether or not a file exists; None if it is outside the store."""
        path = _path_of(url)
        inside = path is not None and ".." not in path.parts and path.is_relative_to(self._root)
        return path if inside else None


def open_store(url: str) -> ArtifactStore:
    """Return the store for a URL. Touches nothing yet. Raises `InvalidInput` for a URL that fits no store."""
    path = _path_of(url)
    if path is None:
        rule = "must be file:/// and an absolute folder, percent-encoded; there is no other kind of storage yet"
        raise InvalidInput([Problem("RUSHES_ARTIFACTS_URL", f"{rule}: not {url!r}")])
    return ArtifactStore(path)


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn an `OSError` of the file system into `StorageFull` or `Unavailable`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                f"the artifact storage is full ({error.strerror}); "
                "free some space or point RUSHES_ARTIFACTS_URL to a larger volume; storing then resumes by itself"
            ) from error
        who = f" for user {os.geteuid()}: give the folder to this user" if isinstance(error, PermissionError) else ""
        raise Unavailable(f"the artifact storage cannot be written: {error.strerror or error}{who}") from error


def _path_of(url: str) -> Path | None:
    """Return the absolute path in a file URL (RFC 8089), or None for any other URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    local = parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.startswith("/")
    return Path(url2pathname(parts.path)) if local and not (parts.query or parts.fragment) else None


def _make_folder(folder: Path) -> None:
    """Make a folder and its missing parents. Each one is durable before anything is put into it."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    """Flush a file or a folder. Some file systems (CIFS, shared folders) cannot: warn once and go on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if _FLUSH_DRIVE is not None:
            fcntl.fcntl(descriptor, _FLUSH_DRIVE)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        _warn_once("folder" if path.is_dir() else "file", error.strerror or str(error))
    finally:
        os.close(descriptor)


@cache
def _warn_once(kind: str, reason: str) -> None:
    log.warning("store.without_fsync", kind=kind, reason=reason)


def _last_written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # published or removed after it was listed
        return float("inf")
