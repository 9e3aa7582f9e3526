"""An append-only journal, so that a restarted simulator still has its tasks and its money.

It holds a task as one JSON object per line, written again whenever the task changes, before the answer is sent; the
last line of a task counts. It does not hold pending callbacks: a restart loses them, as it may at the provider.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from rushes.catalog import find_video_model
from sandbox.wavespeed.state.tasks import Fate, Task, TaskRequest

_ASKED = ("given", "base", "webhook")
_OWN = ("id", "accepted", "duration", "unknown_status", "started", "ended")


class DamagedJournal(Exception):
    """A line of the journal, other than a torn last one, cannot be read."""


def open_journal(path: Path) -> TextIO:
    """The journal, to append to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a", encoding="ascii")


def append_task(journal: TextIO, task: Task) -> None:
    """Append a line; it reaches the operating system before this returns."""
    fields = {name: getattr(task, name) for name in _OWN} | {name: getattr(task.asked, name) for name in _ASKED}
    journal.write(json.dumps({**fields, "model": task.asked.model.id, "fate": asdict(task.fate)}) + "\n")
    journal.flush()


def read_journal(path: Path) -> list[Task]:
    """Every task of the journal, in the order of acceptance. A torn last line, which a kill leaves, is cut off.

    Raises `DamagedJournal` for any other line that holds no task.
    """
    if not path.exists():
        return []
    tasks: dict[str, Task] = {}
    with path.open("r+b") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                file.seek(-len(line), 2)
                file.truncate()
                break
            try:
                task = _read_task(json.loads(line))
            except (ValueError, LookupError, TypeError):
                raise DamagedJournal(f"line {number} of the journal {path} cannot be read") from None
            if task is not None:
                tasks[task.id] = task
    return sorted(tasks.values(), key=lambda task: task.accepted)


def _read_task(fields: dict[str, Any]) -> Task | None:
    """The task of a line; None if the catalogue no longer has its video model."""
    model = find_video_model(fields["model"])
    if model is None:
        return None
    asked = TaskRequest(model, **{name: fields[name] for name in _ASKED})
    return Task(asked=asked, fate=Fate(**fields["fate"]), **{name: fields[name] for name in _OWN})
