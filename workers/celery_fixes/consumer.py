"""Celery's consumer with one change: losing Redis never ends the worker."""

from typing import Any

import structlog
from celery.worker.consumer import Consumer

log = structlog.get_logger(__name__)


class SurvivingConsumer(Consumer):
    """Messages received on a connection that is gone are neither handed back nor acknowledged.

    kombu does both through the closed channel, which raises `AttributeError`. Celery reconnects only after connection
    errors; after any other error it ends the worker. The old connection needs neither: this process still has the
    messages, and the lease of a row is the redelivery.
    """

    task_consumer: Any  # this and `call_soon_ack` are missing in the type stubs

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Close the broken connection without handing messages back through it."""
        if self.task_consumer is not None:
            self.task_consumer.channel.do_restore = False
        super().on_connection_error_after_connected(exc)

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Acknowledge in the event loop if the message's channel is still open then."""
        return super().call_soon_ack(acknowledge_if_open, p, *args, **kwargs)  # type: ignore[misc]


def is_gone(channel: Any) -> bool:
    """Whether the channel's connection was closed. It may be closed before the channel is."""
    return channel.closed or channel.connection is None or channel.connection.client is None


def acknowledge_if_open(acknowledge: Any, *args: Any, **kwargs: Any) -> None:
    """Call the message's own `acknowledge`, unless its connection is gone."""
    if is_gone(acknowledge.__self__.channel):
        log.info("ack.dropped", reason="its connection is gone")
        return
    acknowledge(*args, **kwargs)
