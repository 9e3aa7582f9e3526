"""The plain Celery task plus a record of the tasks that give up, as an operator would see them in Flower.

The task itself is unchanged: `celery -A bench.peers.celery_with_failures worker`.
"""

from pathlib import Path
from typing import Any

from celery.signals import task_failure

from bench.peers.plain_celery import app, options
from bench.peers.sightings import note_sighting

__all__ = ["app"]

GAVE_UP = "gave up"


@task_failure.connect
def note_failure(args: tuple[Any, ...] = (), **rest: Any) -> None:
    """Record a task that has ended with an error and is not retried."""
    note_sighting(Path(options.folder), job=str(args[0]), prediction="", status=GAVE_UP)
