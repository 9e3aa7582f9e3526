"""Publishing steps: how much room the queues have, and a batch of messages in one pipeline."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import redis
from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.orm import Session

from models.db.session import Sessions, transaction
from rushes.settings import Settings

UNSTARTED_LEASE = timedelta(seconds=15)
"""How long a published message may wait for a worker before its row is published again."""
UNSTARTED_POOLS = 2
"""Per queue, messages for so many pools may wait; the backlog itself stays in rows."""


class BrokerAway(Exception):
    """Redis cannot be reached: nothing was published, or nobody knows what was."""


@dataclass(frozen=True, slots=True)
class Message:
    """One step to be run. The id tells an operator which; duplicates cost one UPDATE."""

    task: str
    queue: str
    args: tuple[Any, ...]
    task_id: str


class Publisher:
    """Used by the dispatcher's thread alone."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def measure_room(self, threads: Mapping[str, int]) -> dict[str, int]:
        """How many messages each queue takes: two pools' worth less what waits. Raises `BrokerAway`."""
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
        """Publish all of them in one pipeline. Raises `BrokerAway`; some may have been published then."""
        if not messages:
            return
        try:
            with self._app.producer_pool.acquire(block=True, timeout=5) as producer, _pipeline(producer):
                for message in messages:
                    self._app.send_task(
                        message.task,
                        args=message.args,
                        queue=message.queue,
                        task_id=message.task_id,
                        producer=producer,
                        retry=False,
                    )
        except (redis.RedisError, KombuError, OSError) as error:
            raise BrokerAway(str(error)) from error

    def publish_or_give_back(
        self, messages: Sequence[Message], sessions: Sessions, give_back: Callable[[Session], None]
    ) -> None:
        """Publish all of them; where that fails, `give_back` frees their rows at once. Raises `BrokerAway`."""
        try:
            self.publish(messages)
        except BrokerAway:
            with transaction(sessions) as session:
                give_back(session)
            raise


def open_redis(settings: Settings, *, seconds: float) -> redis.Redis:
    """A connection beside Celery's, whose every call answers or fails within so many seconds."""
    return redis.Redis.from_url(
        settings.get_redis_url(),
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
    )


def _pipeline(producer: Any) -> AbstractContextManager[Any]:
    # `batch` came with kombu 5.7; the type stubs are older.
    return cast("AbstractContextManager[Any]", producer.batch())
