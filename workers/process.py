"""What one worker process holds: its runtime, made at first use, never inherited across a fork."""

import os
import threading

from rushes.runtime import Runtime
from rushes.settings import load_settings

_lock = threading.Lock()
_runtimes: dict[int, Runtime] = {}
_pool_size = 10


def set_pool_size(threads: int) -> None:
    """Size the database pool for so many threads; called before the first use."""
    global _pool_size  # noqa: PLW0603 - a process has one pool, and Celery's tasks have no place to hold it
    _pool_size = threads


def get_runtime() -> Runtime:
    """The runtime of this process."""
    pid = os.getpid()
    with _lock:
        if pid not in _runtimes:
            _runtimes[pid] = Runtime.open(load_settings(), pool_size=_pool_size, application="worker")
        return _runtimes[pid]


def close_runtime() -> None:
    """Let go of the connections of this process."""
    with _lock:
        runtime = _runtimes.pop(os.getpid(), None)
    if runtime is not None:
        runtime.close()
