"""Sends Celery's task events to Flower as lists: one message per interval instead of one or two per task."""

from typing import Any

from celery import bootsteps

FLUSH_SECONDS = 0.25
"""The longest time that an event waits. Flower's own pages are reloaded less often."""
LIST_LIMIT = 1_000
"""This many events are sent at once, even before the interval ends."""


class EventLists(bootsteps.StartStopStep):
    """Flushes events instead of the event loop, which would send the events of each single round."""

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
