"""The steps of this process: how many began, which ones run, and for how long."""

import threading
import time
from typing import Any

from celery.signals import task_postrun, task_prerun


class Steps:
    """Steps by thread; a thread runs one step at a time. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = 0
        self._running: dict[int, tuple[str, float]] = {}

    def begin(self, task: str) -> None:
        """Record that this thread begins a step."""
        with self._lock:
            self._begun += 1
            self._running[threading.get_ident()] = (task, time.monotonic())

    def end(self) -> None:
        """Record that this thread's step has ended."""
        with self._lock:
            self._running.pop(threading.get_ident(), None)

    def count_begun(self) -> int:
        """Steps begun since the process started."""
        with self._lock:
            return self._begun

    def list_running(self) -> list[tuple[str, float]]:
        """The running tasks, each with its age in seconds."""
        now = time.monotonic()
        with self._lock:
            return [(task, now - began) for task, began in self._running.values()]


STEPS = Steps()


@task_prerun.connect(weak=False)
def _begin(task: Any = None, **_: Any) -> None:
    STEPS.begin(str(getattr(task, "name", "")))


@task_postrun.connect(weak=False)
def _end(**_: Any) -> None:
    STEPS.end()
