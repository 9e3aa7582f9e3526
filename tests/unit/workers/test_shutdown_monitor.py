"""When a worker that is shutting down waits for nothing more, and how its publisher reports that Redis is away."""

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import exceptions

from workers.dispatcher.publisher import BrokerAway, Message, Publisher
from workers.supervision.shutdown import Surroundings, has_nothing_to_wait_for


@pytest.mark.parametrize(
    ("has_postgres", "has_redis", "steps", "expected"),
    [
        (True, True, 0, False),
        (True, True, 3, False),
        (True, False, 3, False),  # their outcomes can be saved
        (True, False, 0, True),
        (False, True, 3, True),
        (False, False, 0, True),
    ],
)
def test_a_worker_that_leaves_waits_only_for_outcomes_that_can_be_saved(
    has_postgres: bool, has_redis: bool, steps: int, expected: bool
) -> None:
    assert has_nothing_to_wait_for(Surroundings(postgres=has_postgres, redis=has_redis, steps=steps)) is expected


def test_a_pipeline_that_fails_shows_that_redis_is_away() -> None:
    @contextmanager
    def failing_batch() -> Any:
        yield
        raise vars(exceptions)["BatchPublishError"]("delivery is uncertain")

    @contextmanager
    def acquire(**_: Any) -> Any:
        yield SimpleNamespace(batch=failing_batch, publish=lambda *_, **__: None)

    built = SimpleNamespace(body=(), headers={}, properties={})
    amqp = SimpleNamespace(create_task_message=lambda *_: built)
    app: Any = SimpleNamespace(producer_pool=SimpleNamespace(acquire=acquire), amqp=amqp)
    with pytest.raises(BrokerAway, match="delivery is uncertain"):
        Publisher(app).publish([Message("watch.poll", "watch", ("id", 1), "poll-1")])
