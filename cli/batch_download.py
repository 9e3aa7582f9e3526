"""Fetch stored files through the API, several at a time. Each file appears whole or not at all."""

import shlex
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from cli.output import note, show_moment
from rushes_client.connection import Connection
from rushes_client.downloading import Advance, StoredFile, fetch
from rushes_client.errors import ClientError
from stack.errors import INTERRUPTED, CommandError

AT_ONCE = 4
SHOWN_PROBLEMS = 5

Json = dict[str, Any]


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
    client: Connection,
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


def download_file(client: Connection, job: Json, *, folder: Path) -> Path:
    """Fetch a job's video, or else its unverified file. Raises `CommandError` if it has neither."""
    prepare_folder(folder)
    return _fetch(client, job, folder=folder, advance=lambda _: None)[0]


def _collect(found: Downloaded, job_id: str, result: Callable[[], tuple[Path, bool]]) -> None:
    try:
        path, is_new = result()
    except (CommandError, ClientError) as error:
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


def _fetch(client: Connection, job: Json, *, folder: Path, advance: Advance) -> tuple[Path, bool]:
    """Return the path of a job's complete file, and whether it was fetched now."""
    kind = find_kind(job)
    if kind is None:
        if removed := [name for name in ("video", "unverified") if _is_removed(job, name)]:
            at = show_moment(job[removed[0]]["removed_at"])
            raise CommandError(f"the file of job {job['id']} was removed on purpose at {at}")
        hint = "`rushes job show` shows what it waits for"
        raise CommandError(f"job {job['id']} is {job['state']}: there is no file", hint=hint)
    file = job[kind]
    stored = StoredFile(job["id"], kind, file["file_name"], file["bytes"], file["sha256"])
    return fetch(client, stored, folder, advance=advance)
