"""Steps of Celery's blueprints: one owns the threads next to the pool, one sends task events to Flower as lists."""

import gc
import sys
from typing import Any

import structlog
from celery import bootsteps
from celery.concurrency.thread import TaskPool
from celery.exceptions import WorkerShutdown

from rushes.monitoring.broker import find_broker_fault
from rushes.settings import Settings
from workers.dispatcher.loop import Dispatcher
from workers.supervision.running_tasks import STEPS
from workers.supervision.shutdown import ShutdownMonitor
from workers.supervision.watchdog import Watchdog
from workers.tasks import get_runtime

SWITCH_SECONDS = 0.02
"""Each thread that waits for the interpreter wakes this often to ask for it. With fifty threads, Python's default of
5 ms is expensive."""
FLUSH_SECONDS = 1.0
"""The longest time that an event waits. Flower's own pages are reloaded less often."""
LIST_LIMIT = 1_000
"""This many events are sent at once, even before the interval ends."""

EX_CONFIG = 78
"""The exit code of a worker whose settings can never work."""

log = structlog.get_logger(__name__)


def _refuse_cluster(settings: Settings) -> None:
    """End the worker if its Redis can never work. If Redis is only away, the worker waits for it."""
    fault = find_broker_fault(settings.get_redis_url(), ca_file=settings.ca_file)
    if fault is not None and fault.is_final:
        log.error("broker.unusable", problem=fault.message, advice=fault.advice)
        raise WorkerShutdown(EX_CONFIG)


class DispatcherStep(bootsteps.StartStopStep):
    """Starts with the pool and stops before it, so that no step is published for a worker that is shutting down."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._dispatcher: Dispatcher | None = None
        self._watchdog: Watchdog | None = None

    def start(self, parent: Any) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.freeze()
        threads = int(parent.concurrency or 1)
        runtime = get_runtime(threads=threads + 4)
        _refuse_cluster(runtime.settings)
        queues = [str(name) for name in parent.app.amqp.queues.consume_from]
        dispatcher = Dispatcher(runtime, parent.app, name=str(parent.hostname), queues=queues, threads=threads)
        dispatcher.start()
        self._dispatcher = dispatcher
        ShutdownMonitor(runtime, steps=STEPS, resign=dispatcher.resign).start()
        if not runtime.settings.watchdog_seconds:
            return
        if not isinstance(parent.pool, TaskPool):
            log.warning("watchdog.off", reason="steps of other processes cannot be counted; use --pool threads")
            return
        self._watchdog = Watchdog(
            runtime, queues=queues, threads=threads, steps=STEPS, count_turns=dispatcher.count_turns
        )
        self._watchdog.start()

    def stop(self, parent: Any) -> None:
        if self._watchdog is not None:
            self._watchdog.stop()
        if self._dispatcher is not None:
            self._dispatcher.stop()

    terminate = stop


class EventLists(bootsteps.StartStopStep):
    """One message per interval instead of one or two per task.

    Flushes events instead of the event loop, which would send the events of each single round.
    """

    requires = ("celery.worker.consumer.events:Events",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._timer: Any = None

    def start(self, parent: Any) -> None:
        events = parent.event_dispatcher
        if events is None or not parent.hub:
            return
        events.on_send_buffered = None
        events.buffer_limit = LIST_LIMIT
        self._timer = parent.timer.call_repeatedly(FLUSH_SECONDS, events.flush)

    def stop(self, parent: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            parent.event_dispatcher.flush()

    shutdown = stop
