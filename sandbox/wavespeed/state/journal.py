"""An append-only journal, so that a restarted simulator still has its tasks and its ledger.

It holds one JSON object per line, written before the answer is sent. It does not hold pending callbacks: a restart
loses them, as it may at the provider.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from sandbox.wavespeed.handlers.schemas import find_model, with_defaults
from sandbox.wavespeed.state.tasks import Fate, Task, TaskRequest


class DamagedJournal(Exception):
    """A line of the journal, other than a torn last one, cannot be read."""


def open_journal(path: Path) -> TextIO:
    """The journal, to append to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a", encoding="ascii")


def append_event(journal: TextIO, event: str, **fields: Any) -> None:
    """Append a line; it reaches the operating system before this returns."""
    journal.write(json.dumps({"event": event, **fields}) + "\n")
    journal.flush()


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
        "accepted": task.accepted,
        "duration": task.duration,
        "unknown_status": task.unknown_status,
        "fate": asdict(task.fate),
    }


def read_task(fields: dict[str, Any]) -> Task | None:
    """The task of a journal line; None if the catalogue no longer has its video model."""
    model, given = find_model(fields["model"]), fields["given"]
    if model is None:
        return None
    asked = {name: fields[name] for name in ("base", "webhook")}
    own = {name: fields[name] for name in ("id", "accepted", "duration", "unknown_status")}
    request = TaskRequest(model=model, given=given, values=with_defaults(model, given), **asked)
    return Task(asked=request, fate=Fate(**fields["fate"]), **own)
