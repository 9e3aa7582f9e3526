"""The results of a batch as a table: what was asked for, what became of it, what it cost, and where its file is."""

import csv
import json
import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

from cli.batch_download import download_files, find_kind, prepare_folder
from rushes_client.connection import Connection

RESULTS = "{batch}-results.csv"
_COLUMNS = ("number", "prompt", "client_ref", "model", "state", "cost", "file", "sha256", "error", "id")

Json = dict[str, Any]


class ExportFormat(StrEnum):
    """The form of an export."""

    CSV = "csv"
    JSONL = "jsonl"


def download_batch(client: Connection, batch: str, folder: Path, *, unverified: bool = False) -> dict[str, Path]:
    """Fetch a batch's files into a folder, and write `<batch>-results.csv` next to them.

    Returns the paths by the jobs' ids.
    """
    prepare_folder(folder)
    jobs = list(client.list_items("jobs", limit=None, batch=batch))
    name = jobs[0]["batch"] if jobs else batch
    paths: dict[str, Path] = {}
    try:
        download_files(client, batch, jobs, folder=folder, unverified=unverified, paths=paths)
    finally:
        part = folder / f".results-{os.getpid()}.part"
        with part.open("w", encoding="utf-8", newline="") as out:
            write_results(jobs, out, ExportFormat.CSV, paths=paths)
        part.replace(folder / RESULTS.format(batch=name))
    return paths


def write_results(jobs: Iterable[Json], out: TextIO, form: ExportFormat, *, paths: Mapping[str, Path] = {}) -> None:
    """Write one row per job, in the order of the batch. `paths` are the files that were fetched, by the job's id.

    In a CSV each key of the jobs' metadata is a column of its own, after the others.
    """
    rows = [_describe(job, paths.get(job["id"])) for job in sorted(jobs, key=lambda job: job["number"] or 0)]
    if form == ExportFormat.JSONL:
        out.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        return
    keys = dict.fromkeys(key for row in rows for key in row["metadata"] or {} if key not in _COLUMNS)
    table = csv.DictWriter(out, [*_COLUMNS, *keys], extrasaction="ignore")
    table.writeheader()
    table.writerows({key: _as_cell(value) for key, value in (row["metadata"] or {}).items()} | row for row in rows)


def _describe(job: Json, path: Path | None) -> Json:
    file = job.get(find_kind(job) or "") or {}
    return {
        "number": job["number"],
        "prompt": job["input"].get("prompt", ""),
        "client_ref": job["client_ref"],
        "model": job["model"],
        "state": job["state"],
        "cost": job["cost"]["spent"],
        "file": path.name if path else file.get("file_name"),
        "sha256": file.get("sha256"),
        "error": (job["error"] or {}).get("message"),
        "id": job["id"],
        "metadata": job["metadata"],
    }


def _as_cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
