"""The Celery signals that we use: we configure logging, and connections close with the process."""

from typing import Any

from celery.signals import setup_logging, worker_process_init, worker_shutdown

from rushes.logs import configure_logging
from rushes.settings import load_settings
from workers.process import close_runtime
from workers.supervision import running_tasks


def connect() -> None:
    """Take over logging, track running tasks, and close connections at the end."""
    running_tasks.connect()
    setup_logging.connect(_configure, weak=False)
    worker_process_init.connect(_forget_inherited, weak=False)
    worker_shutdown.connect(_close, weak=False)


def _configure(**_: Any) -> None:
    configure_logging(as_json=load_settings().log_json)


def _forget_inherited(**_: Any) -> None:
    close_runtime()


def _close(**_: Any) -> None:
    close_runtime()
