"""The runtime of one worker process. It is created at first use and never inherited across a fork."""

import os
import threading

from rushes.runtime import Runtime
from rushes.settings import load_settings

_lock = threading.Lock()
_runtimes: dict[int, Runtime] = {}
_threads = 10


def set_threads(threads: int) -> None:
    """Size the connection pools for `threads` threads. Call this before the first use."""
    global _threads  # noqa: PLW0603 - a process has one pool, and Celery's tasks have no place to hold it
    _threads = threads


def get_runtime() -> Runtime:
    """The runtime of this process."""
    pid = os.getpid()
    with _lock:
        if pid not in _runtimes:
            _runtimes[pid] = Runtime.open(load_settings(), threads=_threads, application="worker")
        return _runtimes[pid]


def close_runtime() -> None:
    """Close the connections of this process."""
    with _lock:
        runtime = _runtimes.pop(os.getpid(), None)
    if runtime is not None:
        runtime.close()
