"""Publish steps: measure the room in the queues, and send many messages in one pipeline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import redis
from celery import Celery
from kombu import Producer
from kombu.exceptions import KombuError, OperationalError
from sqlalchemy.orm import Session

from models.db.session import Sessions, transaction

UNSTARTED_LEASE = timedelta(seconds=15)
"""How long a published message may wait for a worker before its row is published again."""
BACK_AT_ONCE = timedelta(0)
"""A row whose message could not be published is due again at once."""
UNSTARTED_POOLS = 2
"""In each queue, messages for this many pools may wait. The backlog itself stays in rows."""

BATCH_LIMIT = 24
"""Longer names of batches are cut in the ids of steps."""


class BrokerAway(Exception):
    """Redis cannot be reached: nothing was published, or it is not known which messages were."""


@dataclass(frozen=True, slots=True)
class Message:
    """One step to run. The id shows an operator which step it is. A duplicate message costs one UPDATE."""

    task: str
    queue: str
    args: tuple[Any, ...]
    task_id: str


def name_step(step: str, place: str, prediction_id: UUID, *numbers: int) -> str:
    """Return the id of a step of one prediction, short enough to read in Flower: `submit-pilot/7-3f2a9c01-1`.

    The digits of the prediction's id are random, so other purchases of the job, and of a later batch of this name,
    have other ids.
    """
    batch, slash, number = place.rpartition("/")
    return "-".join([step, f"{batch[:BATCH_LIMIT]}{slash}{number}", prediction_id.hex[-8:], *map(str, numbers)])


class Publisher:
    """Only the dispatcher's thread may use this."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def measure_room(self, threads: Mapping[str, int]) -> dict[str, int]:
        """How many messages each queue can take: two pools' worth minus the waiting ones. Raises `BrokerAway`."""
        queues = list(threads)
        try:
            with self._app.connection_or_acquire() as connection:
                pipeline = connection.default_channel.client.pipeline(transaction=False)
                for queue in queues:
                    pipeline.llen(queue)
                lengths = pipeline.execute()
        except (redis.RedisError, OperationalError, OSError) as error:
            raise BrokerAway(str(error)) from error
        return {
            queue: max(0, UNSTARTED_POOLS * threads[queue] - length)
            for queue, length in zip(queues, lengths, strict=True)
        }

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish all messages in one pipeline. Raises `BrokerAway`; some of them may then have been published."""
        if not messages:
            return
        try:
            with (
                self._app.producer_pool.acquire(block=True, timeout=5) as producer,
                producer.batch(),  # type: ignore[attr-defined]  # kombu 5.7 introduced it; the type stubs are older
            ):
                for message in messages:
                    self._send(message, producer)
        except (redis.RedisError, KombuError, OSError) as error:
            raise BrokerAway(str(error)) from error

    def _send(self, message: Message, producer: Producer) -> None:
        """Send the same message as `Celery.send_task`, without its options, which cost half of the time.

        No exchange: the message goes to the queue with the name of the routing key.
        """
        task = self._app.amqp.create_task_message(message.task_id, message.task, message.args)
        producer.publish(
            task.body,
            exchange="",
            routing_key=message.queue,
            serializer="json",
            headers=task.headers,
            **task.properties,
        )

    def publish_or_give_back(
        self, messages: Sequence[Message], sessions: Sessions, give_back: Callable[[Session], object]
    ) -> None:
        """Publish all messages. If that fails, `give_back` frees their rows at once. Raises `BrokerAway`."""
        try:
            self.publish(messages)
        except BrokerAway:
            with transaction(sessions) as session:
                give_back(session)
            raise
