"""Where artifacts live: what a store promises, and the one on a local disk."""

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from rushes.artifacts.errors import storage_errors
from rushes.artifacts.naming import check_name
from rushes.errors import InvalidInput, NotFound, Problem

_SCRATCH = ".incoming"
_FOLDER_MODE = 0o755


class ArtifactStore(Protocol):
    """Keeps finished files under names; every method may raise `StorageFull` or `Unavailable`."""

    def scratch(self) -> Path:
        """A folder on this machine for files that are not finished."""

    def publish(self, source: Path, name: str) -> str:
        """Move a finished file to `name` in one atomic step and return its URL.

        Readers see the whole file or, under that name, what was there before. When this returns, a power cut no
        longer loses it. Raises `InvalidInput` for a name that would leave the store.
        """

    def open(self, url: str) -> BinaryIO:
        """Read a published file; raises `NotFound`."""

    def find_path(self, url: str) -> Path | None:
        """The published file on this machine's disk; None when it is not on one, or gone."""

    def remove(self, url: str) -> None:
        """Remove a published file; no error if it is gone already. Raises `InvalidInput` for a URL of another place."""

    def remove_abandoned(self, *, older_than: timedelta) -> int:
        """Drop unfinished files that nobody has written to for so long (their worker died), and say how many."""


class LocalStore:
    """A folder on a disk that all workers and the API share; unfinished files wait in `.incoming` beside the rest."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def scratch(self) -> Path:
        folder = self._root / _SCRATCH
        with storage_errors():
            _make_folder(folder)
        return folder

    def publish(self, source: Path, name: str) -> str:
        target = self._root / check_name(name)
        with storage_errors():
            _make_folder(target.parent)
            _sync(source)
            source.replace(target)
            _sync(target.parent)
        return target.as_uri()

    def open(self, url: str) -> BinaryIO:
        path = self.find_path(url)
        if path is None:
            raise NotFound(f"there is no stored file at {url}")
        with storage_errors():
            return path.open("rb")

    def find_path(self, url: str) -> Path | None:
        path = self._locate(url)
        return path if path is not None and path.is_file() else None

    def remove(self, url: str) -> None:
        path = self._locate(url)
        if path is None:
            raise InvalidInput([Problem("url", f"names no file of this store: {url!r}")])
        check_name(str(path.relative_to(self._root)))
        with storage_errors():
            path.unlink(missing_ok=True)

    def remove_abandoned(self, *, older_than: timedelta) -> int:
        oldest = time.time() - older_than.total_seconds()
        removed = 0
        with storage_errors():
            for path in self.scratch().iterdir():
                if _last_written(path) < oldest:
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def _locate(self, url: str) -> Path | None:
        """The path that a URL names inside the store, whether or not there is a file; None for any other place."""
        path = _path_of(url)
        inside = path is not None and ".." not in path.parts and path.is_relative_to(self._root)
        return path if inside else None


def open_store(url: str) -> ArtifactStore:
    """The store that a URL names. Touches nothing yet; raises `InvalidInput` for a URL that no store answers to."""
    path = _path_of(url)
    if path is None:
        rule = "must be file:/// and an absolute folder, percent-encoded; there is no other kind of storage yet"
        raise InvalidInput([Problem("RUSHES_ARTIFACTS_URL", f"{rule}: not {url!r}")])
    return LocalStore(path)


def _path_of(url: str) -> Path | None:
    """The absolute path in a file URL (RFC 8089); None for any other."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    local = parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.startswith("/")
    return Path(url2pathname(parts.path)) if local and not (parts.query or parts.fragment) else None


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each one durable before anything is put into it."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # published or removed since it was listed
        return float("inf")
