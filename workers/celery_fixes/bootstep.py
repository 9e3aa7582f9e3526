"""Celery's hook for the threads next to the pool: a step of the worker's blueprint owns them."""

import gc
import sys
from typing import Any

import structlog
from celery import bootsteps
from celery.concurrency.thread import TaskPool

from workers.process import get_runtime, set_threads
from workers.supervision.running_tasks import STEPS

SWITCH_SECONDS = 0.02
"""Each thread that waits for the interpreter wakes this often to ask for it. With fifty threads, Python's default of
5 ms is expensive."""

log = structlog.get_logger(__name__)


class DispatcherStep(bootsteps.StartStopStep):
    """Starts with the pool and stops before it, so that no step is published for a worker that is shutting down."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._dispatcher: Any = None
        self._watchdog: Any = None

    def start(self, parent: Any) -> None:
        from workers.dispatcher.loop import Dispatcher  # noqa: PLC0415 - imports the app, which is still being built
        from workers.supervision.shutdown import ShutdownMonitor  # noqa: PLC0415 - as above

        sys.setswitchinterval(SWITCH_SECONDS)
        gc.freeze()
        threads = int(parent.concurrency or 1)
        set_threads(threads + 4)
        queues = [str(name) for name in parent.app.amqp.queues.consume_from]
        self._dispatcher = Dispatcher(
            get_runtime(), parent.app, name=str(parent.hostname), queues=queues, threads=threads
        )
        self._dispatcher.start()
        ShutdownMonitor(get_runtime(), steps=STEPS, resign=self._dispatcher.resign).start()
        self._start_watchdog(parent, queues=queues, threads=threads)

    def stop(self, parent: Any) -> None:
        if self._watchdog is not None:
            self._watchdog.stop()
        if self._dispatcher is not None:
            self._dispatcher.stop()

    terminate = stop

    def _start_watchdog(self, parent: Any, *, queues: list[str], threads: int) -> None:
        from workers.supervision.watchdog import Watchdog  # noqa: PLC0415 - as above

        runtime = get_runtime()
        if not runtime.settings.watchdog_seconds:
            return
        if not isinstance(parent.pool, TaskPool):
            log.warning("watchdog.off", reason="steps of other processes cannot be counted; use --pool threads")
            return
        self._watchdog = Watchdog(
            runtime, queues=queues, threads=threads, steps=STEPS, count_turns=self._dispatcher.count_turns
        )
        self._watchdog.start()
