"""Fetch stored files. Each one appears whole or not at all, and a part is continued later."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import requests

from rushes_client.connection import Connection
from rushes_client.errors import ClientError

if sys.platform != "win32":
    import fcntl

CHUNK_BYTES = 1 << 20
TRIES = 3
"""How often a file is requested. Each request continues where the one before was cut off."""

Advance = Callable[[int], None]


class StoredFile(NamedTuple):
    """A job's file in Rushes. `kind` is `video` or `unverified`."""

    job_id: str
    kind: str
    file_name: str | None
    bytes: int
    sha256: str


def fetch(
    connection: Connection, file: StoredFile, folder: Path, *, advance: Advance = lambda _: None
) -> tuple[Path, bool]:
    """Return the path of a complete file, and whether it was fetched now. `advance` gets the number of new bytes.

    Raises `ClientError` if it cannot be fetched, and `OSError` if it cannot be written.
    """
    target = _choose_path(folder, file)
    if target.exists():
        advance(file.bytes)
        return target, False
    with (folder / f".{file.job_id}.part").open("ab+") as part, _lock(part, file):
        for _ in range(TRIES):
            if _receive(connection, part, file, advance=advance):
                return _publish(Path(part.name), folder, file), True
    raise ClientError(f"the file of job {file.job_id} arrived damaged or was cut off {TRIES} times")


@contextlib.contextmanager
def _lock(part: BinaryIO, file: StoredFile) -> Iterator[None]:
    """Keep other processes from the part. Closing it ends the lock."""
    if sys.platform != "win32":
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ClientError(f"the file of job {file.job_id} is being fetched by another process") from None
    yield


def _publish(part: Path, folder: Path, file: StoredFile) -> Path:
    """Give a part its name, unless another process has used that name meanwhile."""
    while True:
        target = _choose_path(folder, file)
        try:
            os.link(part, target)
        except FileExistsError:
            if _choose_path(folder, file) != target:
                continue
        except OSError:  # a file system without links: reserve the name first, because some ignore case
            with contextlib.suppress(FileExistsError):
                target.touch(exist_ok=False)
                part.replace(target)
                return target
            continue
        part.unlink()
        return target


def _receive(connection: Connection, part: BinaryIO, file: StoredFile, *, advance: Advance) -> bool:
    """Return whether the part is the whole file now. Bytes that are not the file's are thrown away."""
    is_cut = True
    with contextlib.suppress(requests.RequestException):
        _continue(connection, part, file, advance=advance)
        is_cut = False
    if not is_cut and _digest(Path(part.name)) == file.sha256:
        return True
    advance(-part.seek(0, os.SEEK_END))
    if not is_cut:
        part.truncate(0)
    return False


def _continue(connection: Connection, part: BinaryIO, file: StoredFile, *, advance: Advance) -> None:
    """Append to a part what is missing. The API answers with the whole file if it cannot continue."""
    have = part.seek(0, os.SEEK_END)
    if have >= file.bytes:
        advance(have)
        return
    with connection.open_file(f"/v1/jobs/{file.job_id}/{file.kind}", start=have) as answer:
        if have and answer.status_code != requests.codes.partial:
            have = part.truncate(0)
        advance(have)
        for chunk in answer.iter_content(CHUNK_BYTES):
            part.write(chunk)
            advance(len(chunk))
        part.flush()
        os.fsync(part.fileno())


def _choose_path(folder: Path, file: StoredFile) -> Path:
    """Return the path of a job's file: its own name, unless another file has it."""
    name = PurePosixPath(file.file_name or "").name
    own = Path(name if name not in ("", ".", "..") and name.isprintable() else f"{file.job_id}.mp4")
    for path in (folder / own, folder / f"{own.stem}.{file.job_id[-12:]}{own.suffix}"):
        if not path.exists() or (path.stat().st_size == file.bytes and _digest(path) == file.sha256):
            return path
    raise ClientError(f"{folder / own} and {path.name} exist and hold other files", hint="name another folder")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
