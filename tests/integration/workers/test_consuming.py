"""What a worker does with the messages of a connection that is gone."""

import logging
from collections.abc import Iterator

import pytest
import redis
from kombu import Connection, Consumer, Exchange, Queue
from kombu.message import Message

from workers.celery_fixes.consumer import acknowledge_if_open

log = logging.getLogger(__name__)
QUEUE = Queue("steps", Exchange("steps"), routing_key="steps")


@pytest.fixture
def connection(redis_url: str) -> Iterator[Connection]:
    with Connection(redis_url) as opened:
        yield opened


@pytest.fixture
def message(connection: Connection) -> Message:
    """One that was received and not acknowledged."""
    received: list[Message] = []
    connection.Producer().publish({}, exchange=QUEUE.exchange, routing_key="steps", declare=[QUEUE])
    with Consumer(connection, [QUEUE], on_message=received.append):
        connection.drain_events(timeout=10)
    return received[0]


def count_unacknowledged(redis_url: str) -> int:
    with redis.Redis.from_url(redis_url) as client:
        return int(client.hlen("unacked"))


def test_a_message_of_an_open_connection_is_acknowledged(redis_url: str, message: Message) -> None:
    assert count_unacknowledged(redis_url) == 1
    acknowledge_if_open(message.ack_log_error, log, ())
    assert count_unacknowledged(redis_url) == 0


def test_a_message_of_a_closed_connection_is_dropped(connection: Connection, message: Message) -> None:
    message.channel.do_restore = False
    connection.collect()
    connection.close()
    acknowledge_if_open(message.ack_log_error, log, ())
    assert not message.acknowledged
    with pytest.raises(AttributeError):  # what Celery would meet in its event loop, and end the worker for
        message.ack_log_error(log, connection.connection_errors)
