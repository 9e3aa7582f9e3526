"""A contestant's sightings: one line of JSON per render, so that all contestants are measured alike."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

SIGHTINGS = "sightings.jsonl"


@dataclass(frozen=True, slots=True)
class Sighting:
    """An answer that shows the end of a render, and when the client held it (seconds since 1970)."""

    job: str
    prediction: str
    status: str
    seen_at: float


def note_sighting(folder: Path, *, job: str, prediction: str, status: str) -> None:
    """Record an answer just seen. It is one write of one line, so any number of threads and processes may call it."""
    line = json.dumps(asdict(Sighting(job, prediction, status, time.time()))) + "\n"
    handle = os.open(folder / SIGHTINGS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def read_sightings(folder: Path) -> list[Sighting]:
    """All sightings so far, in order; empty if there are none."""
    path = folder / SIGHTINGS
    lines = path.read_text().splitlines() if path.exists() else []
    return [Sighting(**json.loads(line)) for line in lines]
