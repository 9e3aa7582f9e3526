"""Fetching the videos of a batch through the API: each appears whole or not at all."""

import hashlib
import os
from email.message import Message
from pathlib import Path
from typing import Any

import requests

from cli.client import ApiClient
from cli.failures import CommandError
from cli.printing import note

CHUNK_BYTES = 1 << 20


def download_videos(client: ApiClient, batch: str, *, folder: Path) -> list[Path]:
    """Fetch the video of every job of a batch that has one; a file that is there already is fetched no second time."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [job for job in client.list_items("jobs", limit=None, batch=batch) if job["video"]]
    paths = [_download(client, job, folder=folder) for job in jobs]
    note(f"{len(paths):,} video{'' if len(paths) == 1 else 's'} in {folder}")
    return paths


def _download(client: ApiClient, job: dict[str, Any], *, folder: Path) -> Path:
    part = folder / f".{job['id']}.part"
    try:
        with client.download(f"/v1/jobs/{job['id']}/video") as answer:
            target = folder / _name_of(answer, job)
            if target.exists() and _digest(target) == job["video"]["sha256"]:
                return target
            _write(answer, part)
    except requests.RequestException as error:
        raise CommandError(f"the video of job {job['id']} was cut off", hint="run the command again") from error
    else:
        if _digest(part) != job["video"]["sha256"]:
            raise CommandError(f"the video of job {job['id']} arrived damaged", hint="run the command again")
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
    """The name that the API proposes, held inside the folder."""
    header = Message()
    header["Content-Disposition"] = answer.headers.get("Content-Disposition", "")
    proposed = Path(header.get_filename() or "").name
    return proposed if proposed not in ("", ".", "..") and proposed.isprintable() else f"{job['id']}.mp4"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
