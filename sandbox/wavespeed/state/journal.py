"""An append-only journal, so that a restarted simulator still has its tasks and its ledger.

It holds one JSON object per line, written before the answer is sent. It does not hold uploaded files and pending
callbacks: a restart loses them, as it may at the provider.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from sandbox.wavespeed.handlers.schemas import find_model, with_defaults
from sandbox.wavespeed.state.tasks import Fate, Task, TaskRequest


class DamagedJournal(Exception):
    """A line of the journal, other than a torn last one, cannot be read."""


class Journal:
    """Appends events to a file. A line reaches the operating system before `append` returns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = path.open("a", encoding="ascii")

    def append(self, event: str, **fields: Any) -> None:
        self._file.write(json.dumps({"event": event, **fields}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Every event of the journal. A torn last line, which a kill leaves, is cut off the file.

    Raises `DamagedJournal` for any other line that is not JSON.
    """
    if not path.exists():
        return []
    events: list[dict[str, Any]] = []
    with path.open("r+b") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                file.seek(-len(line), 2)
                file.truncate()
                break
            try:
                events.append(json.loads(line))
            except ValueError:
                raise DamagedJournal(f"line {number} of the journal {path} cannot be read") from None
    return events


def write_task(task: Task) -> dict[str, Any]:
    """The fields from which `read_task` recreates the same task."""
    asked = task.asked
    return {
        "id": task.id,
        "model": asked.model.id,
        "given": asked.given,
        "base": asked.base,
        "webhook": asked.webhook,
        "access_key": asked.access_key,
        "accepted": task.accepted,
        "duration": task.duration,
        "unknown_status": task.unknown_status,
        "fate": asdict(task.fate),
    }


def read_task(fields: dict[str, Any]) -> Task | None:
    """The task of a journal line; None if the catalogue no longer has its video model."""
    model = find_model(fields["model"])
    if model is None:
        return None
    asked = TaskRequest(
        model=model,
        given=fields["given"],
        values=with_defaults(model, fields["given"]),
        base=fields["base"],
        webhook=fields["webhook"],
        access_key=fields["access_key"],
    )
    return Task(
        id=fields["id"],
        asked=asked,
        accepted=fields["accepted"],
        duration=fields["duration"],
        fate=Fate(**fields["fate"]),
        unknown_status=fields.get("unknown_status", ""),
    )
