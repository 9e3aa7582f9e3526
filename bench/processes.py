"""CPU and memory by kind of process, of everything that this process has started."""

import contextlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

_KINDS = (
    ("worker", "worker -P threads|-Q submit"),
    ("store worker", "-Q store"),
    ("API", "uvicorn"),
    ("Flower", "flower"),
    ("Redis", "valkey-server"),
    ("Postgres", "postgres"),
    ("simulator (not ours)", "sandbox.wavespeed"),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds spent and bytes resident (shared pages counted once per process)."""

    cpu_seconds: float = 0.0
    resident_bytes: int = 0


def measure_usage() -> dict[str, Usage]:
    """By kind, over all living descendants; what ended before is not counted."""
    cpu: defaultdict[str, float] = defaultdict(float)
    resident: defaultdict[str, int] = defaultdict(int)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            kind = _kind_of(" ".join(process.cmdline()))
            times = process.cpu_times()
            cpu[kind] += times.user + times.system
            resident[kind] += _own_bytes(process)
    return {kind: Usage(cpu[kind], resident[kind]) for kind in cpu}


def subtract(later: Mapping[str, Usage], earlier: Mapping[str, Usage]) -> dict[str, Usage]:
    """CPU spent between two measurements; memory as it is at the later one."""
    return {
        kind: Usage(usage.cpu_seconds - earlier.get(kind, Usage()).cpu_seconds, usage.resident_bytes)
        for kind, usage in later.items()
    }


def _own_bytes(process: psutil.Process) -> int:
    # Postgres' processes share one large segment: what is theirs alone says more.
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return int(process.memory_info().rss)


def _kind_of(command: str) -> str:
    for kind, marks in _KINDS:
        if any(mark in command for mark in marks.split("|")):
            return kind
    return "other"
