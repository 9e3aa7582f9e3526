"""CPU and memory, by kind of process, of all descendants of this process."""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import psutil

SIMULATOR = "simulator"
REDIS, POSTGRES = "Redis", "Postgres"
_KINDS = (
    (SIMULATOR, "sandbox.wavespeed"),
    ("client", "bench.peers"),
    ("worker", "-Q submit"),
    ("store worker", "-Q store"),
    ("API", "uvicorn"),
    ("API", "api.serve"),
    ("Flower", "flower"),
    (REDIS, "valkey-server"),
    (POSTGRES, "postgres"),
)
SAMPLE_SECONDS = 2.0


class Meter:
    """Measures CPU from entering to leaving the block, and the peak memory of samples taken every 2 s.

    CPU counts only processes that are alive at the end; memory counts every process that was sampled. Memory is the sum
    of resident sets. For Postgres each shared page is divided by the processes that share it: they share most pages.
    """

    def __init__(self) -> None:
        self.cpu_seconds: dict[str, float] = {}
        self.memory_bytes: dict[str, int] = {}
        self.seconds = 0.0
        self._before: dict[str, float] = {}
        self._began = 0.0
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._before = measure_cpu()
        self._began = time.perf_counter()
        self._sampler.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.seconds = time.perf_counter() - self._began
        self.cpu_seconds = subtract(measure_cpu(), self._before)
        self._over.set()
        self._sampler.join()
        self._note(measure_memory())

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self._note(measure_memory())

    def _note(self, memory: Mapping[str, int]) -> None:
        for kind, size in memory.items():
            self.memory_bytes[kind] = max(size, self.memory_bytes.get(kind, 0))


def measure_cpu() -> dict[str, float]:
    """CPU seconds by kind, of all living descendants."""
    spent: defaultdict[str, float] = defaultdict(float)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            spent[kind_of(" ".join(process.cmdline()))] += times.user + times.system
    return dict(spent)


def measure_memory() -> dict[str, int]:
    """Bytes by kind, of all living descendants."""
    held: defaultdict[str, int] = defaultdict(int)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            kind = kind_of(" ".join(process.cmdline()))
            held[kind] += _share_bytes(process) if kind == POSTGRES else process.memory_info().rss
    return dict(held)


def subtract(later: Mapping[str, float], earlier: Mapping[str, float]) -> dict[str, float]:
    """The amount spent between two measurements; never negative, even if a process ended between them."""
    return {kind: max(0.0, spent - earlier.get(kind, 0.0)) for kind, spent in later.items()}


def kind_of(command: str) -> str:
    """The kind of process that has this command line."""
    return next((kind for kind, mark in _KINDS if mark in command), "other")


def _share_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.Error, AttributeError):  # only Linux reports shared pages
        return int(process.memory_info().rss)
