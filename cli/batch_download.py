"""Fetch stored files through the API, several at a time. Each file appears whole or not at all."""

import fcntl
import hashlib
import os
import shlex
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from cli.api_client import ApiClient
from cli.output import note, show_moment
from stack.errors import INTERRUPTED, CommandError

CHUNK_BYTES = 1 << 20
AT_ONCE = 4
TRIES = 3
"""How often a file is requested. Each request goes on where the one before was cut off."""
SHOWN_PROBLEMS = 5

Json = dict[str, Any]
Advance = Callable[[int], None]


@dataclass(slots=True)
class Downloaded:
    """The jobs of a batch with a file, the path of each, and how many files were there already."""

    paths: dict[str, Path]
    complete: int = 0
    problems: list[str] = field(default_factory=list)


def prepare_folder(folder: Path | None) -> None:
    """Create a folder for downloads, if there is to be one, and check that it can be written. Raises `CommandError`."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 65_536)
            probe.flush()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(f"the folder {folder} cannot be written: {reason}", hint="name another folder") from None


def download_files(
    client: ApiClient,
    batch: str,
    jobs: Sequence[Json],
    *,
    folder: Path,
    unverified: bool = False,
    paths: dict[str, Path],
) -> None:
    """Fetch the video of every job of a batch that has one, and put the paths into `paths` by the jobs' ids.

    A complete file is not fetched again, and a cut one is continued. `unverified` also fetches the unverified file of
    every job that has no video. Raises `CommandError` with what could not be fetched, once all others are.
    """
    wanted = {"video", "unverified"} if unverified else {"video"}
    if removed := sum(_is_removed(job, "video") for job in jobs):
        note(f"the videos of {removed:,} job{'' if removed == 1 else 's'} were removed on purpose")
    jobs = [job for job in jobs if find_kind(job) in wanted]
    command = shlex.join(["rushes", "batch", "download", batch, str(folder), *(["--unverified"] if unverified else [])])
    found, stopped = Downloaded(paths), threading.Event()
    with _open_bar() as bar, ThreadPoolExecutor(AT_ONCE) as pool:
        task = bar.add_task("", total=sum(job[find_kind(job) or ""]["bytes"] for job in jobs))

        def advance(count: int) -> None:
            if stopped.is_set():
                raise CommandError("interrupted")
            bar.advance(task, count)

        tasks = {pool.submit(_fetch, client, job, folder=folder, advance=advance): job["id"] for job in jobs}
        try:
            for done in as_completed(tasks):
                _collect(found, tasks[done], done.result)
        except KeyboardInterrupt:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise CommandError("interrupted", hint=f"`{command}` goes on from here", exit_code=INTERRUPTED) from None
    _report(jobs, found, folder=folder)
    if found.problems:
        more = [f"and {hidden:,} more"] if (hidden := len(found.problems) - SHOWN_PROBLEMS) > 0 else []
        raise CommandError(*found.problems[:SHOWN_PROBLEMS], *more, hint=f"`{command}` goes on from here")


def _open_bar() -> Progress:
    columns = (TextColumn("fetching"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=Console(stderr=True))


def find_kind(job: Json) -> str | None:
    """Return the kind of file to fetch for a job: its video, or else its unverified file. None if it has neither."""
    return next((kind for kind in ("video", "unverified") if job.get(kind) and not _is_removed(job, kind)), None)


def _is_removed(job: Json, kind: str) -> bool:
    return (job.get(kind) or {}).get("removed_at") is not None


def download_file(client: ApiClient, job: Json, *, folder: Path) -> Path:
    """Fetch a job's video, or else its unverified file. Raises `CommandError` if it has neither."""
    prepare_folder(folder)
    return _fetch(client, job, folder=folder, advance=lambda _: None)[0]


def _collect(found: Downloaded, job_id: str, result: Callable[[], tuple[Path, bool]]) -> None:
    try:
        path, is_new = result()
    except CommandError as error:
        found.problems.extend(error.errors)
    except OSError as error:
        found.problems.append(f"the file of job {job_id} cannot be written: {(error.strerror or str(error)).lower()}")
    else:
        found.paths[job_id] = path
        found.complete += not is_new


def _report(jobs: Sequence[Json], found: Downloaded, *, folder: Path) -> None:
    here = [find_kind(job) for job in jobs if job["id"] in found.paths]
    kept = here.count("unverified")
    more = f" and {kept:,} unverified file{'' if kept == 1 else 's'}" if kept else ""
    had = f" ({found.complete:,} already there)" if found.complete else ""
    videos = len(here) - kept
    note(f"{videos:,} video{'' if videos == 1 else 's'}{more} in {folder}{had}")


def _fetch(client: ApiClient, job: Json, *, folder: Path, advance: Advance) -> tuple[Path, bool]:
    """Return the path of a job's complete file, and whether it was fetched now."""
    kind = find_kind(job)
    if kind is None:
        if removed := [name for name in ("video", "unverified") if _is_removed(job, name)]:
            at = show_moment(job[removed[0]]["removed_at"])
            raise CommandError(f"the file of job {job['id']} was removed on purpose at {at}")
        hint = "`rushes job show` shows what it waits for"
        raise CommandError(f"job {job['id']} is {job['state']}: there is no file", hint=hint)
    file = job[kind]
    target = _choose_path(folder, job, file)
    if target.exists():
        advance(file["bytes"])
        return target, False
    with (folder / f".{job['id']}.part").open("ab+") as part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandError(f"the file of job {job['id']} is being fetched by another command") from None
        for _ in range(TRIES):
            if _receive(client, f"/v1/jobs/{job['id']}/{kind}", part, file, advance=advance):
                return _publish(Path(part.name), folder, job, file), True
    raise CommandError(f"the file of job {job['id']} arrived damaged or was cut off {TRIES} times")


def _publish(part: Path, folder: Path, job: Json, file: Json) -> Path:
    """Give a part its name, unless another command has used that name meanwhile."""
    while True:
        target = _choose_path(folder, job, file)
        try:
            os.link(part, target)
        except FileExistsError:
            if _choose_path(folder, job, file) != target:
                continue
        except OSError:  # a file system without links: reserve the name first, because some ignore case
            with suppress(FileExistsError):
                target.touch(exist_ok=False)
                part.replace(target)
                return target
            continue
        part.unlink()
        return target


def _receive(client: ApiClient, address: str, part: BinaryIO, file: Json, *, advance: Advance) -> bool:
    """Return whether the part is the whole file now. Bytes that are not the file's are thrown away."""
    is_cut = True
    with suppress(requests.RequestException):
        _continue(client, address, part, size=file["bytes"], advance=advance)
        is_cut = False
    if not is_cut and _digest(Path(part.name)) == file["sha256"]:
        return True
    advance(-part.seek(0, os.SEEK_END))
    if not is_cut:
        part.truncate(0)
    return False


def _continue(client: ApiClient, address: str, part: BinaryIO, *, size: int, advance: Advance) -> None:
    """Append to a part what is missing. The API answers with the whole file if it cannot continue."""
    have = part.seek(0, os.SEEK_END)
    if have >= size:
        advance(have)
        return
    with client.download(address, start=have) as answer:
        if have and answer.status_code != requests.codes.partial:
            have = part.truncate(0)
        advance(have)
        for chunk in answer.iter_content(CHUNK_BYTES):
            part.write(chunk)
            advance(len(chunk))
        part.flush()
        os.fsync(part.fileno())


def _choose_path(folder: Path, job: Json, file: Json) -> Path:
    """Return the path of a job's file: its own name, unless another file has it."""
    name = PurePosixPath(file["file_name"]).name
    own = Path(name if name not in ("", ".", "..") and name.isprintable() else f"{job['id']}.mp4")
    for path in (folder / own, folder / f"{own.stem}.{job['id'][-12:]}{own.suffix}"):
        if not path.exists() or (path.stat().st_size == file["bytes"] and _digest(path) == file["sha256"]):
            return path
    raise CommandError(f"{folder / own} and {path.name} exist and hold other files", hint="name another folder")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
