"""Fetch stored files through the API. Each file appears whole or not at all."""

import hashlib
import os
from email.message import Message
from pathlib import Path
from typing import Any

import requests

from cli.api_client import ApiClient
from cli.output import note, show_moment
from stack.errors import CommandError

CHUNK_BYTES = 1 << 20


def download_files(client: ApiClient, batch: str, *, folder: Path, unverified: bool = False) -> list[Path]:
    """Fetch the video of every job of a batch that has one. A file that already exists is not fetched again.

    `unverified` also fetches the unverified file of every job that has no video.
    """
    wanted = {"video", "unverified"} if unverified else {"video"}
    listed = list(client.list_items("jobs", limit=None, batch=batch))
    jobs = [job for job in listed if find_kind(job) in wanted]
    paths = [download_file(client, job, folder=folder) for job in jobs]
    kept = sum(find_kind(job) == "unverified" for job in jobs)
    videos = len(paths) - kept
    more = f" and {kept:,} unverified file{'' if kept == 1 else 's'}" if kept else ""
    if removed := sum(_is_removed(job, "video") for job in listed):
        note(f"the videos of {removed:,} job{'' if removed == 1 else 's'} were removed on purpose")
    note(f"{videos:,} video{'' if videos == 1 else 's'}{more} in {folder}")
    return paths


def find_kind(job: dict[str, Any]) -> str | None:
    """Return the kind of file to fetch for a job: its video, or else its unverified file. None if it has neither."""
    return next((kind for kind in ("video", "unverified") if job.get(kind) and not _is_removed(job, kind)), None)


def _is_removed(job: dict[str, Any], kind: str) -> bool:
    return (job.get(kind) or {}).get("removed_at") is not None


def download_file(client: ApiClient, job: dict[str, Any], *, folder: Path) -> Path:
    """Fetch a job's video, or else its unverified file. Raises `CommandError` if it has neither."""
    kind = find_kind(job)
    if kind is None:
        if removed := [name for name in ("video", "unverified") if _is_removed(job, name)]:
            at = show_moment(job[removed[0]]["removed_at"])
            raise CommandError(f"the file of job {job['id']} was removed on purpose at {at}")
        hint = "`rushes job show` shows what it waits for"
        raise CommandError(f"job {job['id']} is {job['state']}: there is no file", hint=hint)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{job['id']}.part"
    try:
        with client.download(f"/v1/jobs/{job['id']}/{kind}") as answer:
            target = folder / _name_of(answer, job)
            if target.exists() and _digest(target) == job[kind]["sha256"]:
                return target
            _write(answer, part)
    except requests.RequestException as error:
        raise CommandError(f"the file of job {job['id']} was cut off", hint="run the command again") from error
    else:
        if _digest(part) != job[kind]["sha256"]:
            raise CommandError(f"the file of job {job['id']} arrived damaged", hint="run the command again")
        part.replace(target)
        return target
    finally:
        part.unlink(missing_ok=True)


def _write(answer: requests.Response, part: Path) -> None:
    with part.open("wb") as file:
        for chunk in answer.iter_content(CHUNK_BYTES):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _name_of(answer: requests.Response, job: dict[str, Any]) -> str:
    """Return the name that the API proposes, kept inside the folder."""
    header = Message()
    header["Content-Disposition"] = answer.headers.get("Content-Disposition", "")
    proposed = Path(header.get_filename() or "").name
    return proposed if proposed not in ("", ".", "..") and proposed.isprintable() else f"{job['id']}.mp4"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
