"""What a contestant saw and when: one line of JSON per render, so that all are measured alike."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

SIGHTINGS = "sightings.jsonl"


@dataclass(frozen=True, slots=True)
class Sighting:
    """The moment (seconds since 1970) at which a client held the answer that a render has ended, and that answer."""

    job: str
    prediction: str
    status: str
    seen_at: float


def note_sighting(folder: Path, *, job: str, prediction: str, status: str) -> None:
    """Write down what has just been seen. One write of one line: any number of threads and processes may do so."""
    line = json.dumps(asdict(Sighting(job, prediction, status, time.time()))) + "\n"
    handle = os.open(folder / SIGHTINGS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def read_sightings(folder: Path) -> list[Sighting]:
    """Everything noted so far, in that order; none where nobody has noted anything."""
    path = folder / SIGHTINGS
    lines = path.read_text().splitlines() if path.exists() else []
    return [Sighting(**json.loads(line)) for line in lines]
