"""One worker process: its runtime, and whether it is shutting down.

The runtime is created at first use and never inherited across a fork.
"""

import os
import threading
from typing import Any

from celery.worker import state as worker_state

from rushes.runtime import Runtime
from rushes.settings import load_settings

_lock = threading.Lock()
_runtimes: dict[int, Runtime] = {}


def get_runtime(*, threads: int = 10) -> Runtime:
    """The runtime of this process. The first call opens it, with connections for `threads` threads."""
    pid = os.getpid()
    with _lock:
        if pid not in _runtimes:
            _runtimes[pid] = Runtime.open(load_settings(), threads=threads, application="worker")
        return _runtimes[pid]


def close_runtime(**_: Any) -> None:
    """Close the connections of this process. The arguments of Celery's signal are not used."""
    with _lock:
        runtime = _runtimes.pop(os.getpid(), None)
    if runtime is not None:
        runtime.close()


def is_shutting_down() -> bool:
    """Whether this worker was sent SIGTERM, SIGINT or SIGQUIT."""
    # `is not None`: Celery sets these to an exit code, which may be 0.
    return worker_state.should_stop is not None or worker_state.should_terminate is not None
