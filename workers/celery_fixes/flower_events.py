"""Celery's task events, sent to Flower as lists: one message per interval instead of one or two per task."""

from typing import Any

from celery import bootsteps

FLUSH_SECONDS = 0.25
"""How long an event waits at most; Flower's own pages are asked for anew more rarely."""
LIST_LIMIT = 1_000
"""So many are sent at once, whatever the interval."""


class EventLists(bootsteps.StartStopStep):
    """Takes the flushing over from the event loop, which would send whatever one round of it has brought."""

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
