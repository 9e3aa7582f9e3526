"""Celery's hook for the dispatcher: a step of the worker's blueprint that owns its thread."""

from typing import Any

from celery import bootsteps

from workers.process import get_runtime, set_threads


class DispatcherStep(bootsteps.StartStopStep):
    """Starts with the pool and stops before it, so that no step is published for a worker that is leaving."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._dispatcher: Any = None

    def start(self, parent: Any) -> None:
        from workers.dispatcher import Dispatcher  # noqa: PLC0415 - imports the app, which is still being built

        threads = int(parent.concurrency or 1)
        set_threads(threads + 4)
        queues = [str(name) for name in parent.app.amqp.queues.consume_from]
        self._dispatcher = Dispatcher(
            get_runtime(), parent.app, name=str(parent.hostname), queues=queues, threads=threads
        )
        self._dispatcher.start()

    def stop(self, parent: Any) -> None:
        if self._dispatcher is not None:
            self._dispatcher.stop()

    terminate = stop
