"""Whether a Redis can be used as the broker: it answers, and evicts nothing."""

from pathlib import Path

import redis

from rushes.monitoring.broker import find_broker_fault, name_broker
from sandbox.servers import EmbeddedRedis


def test_a_redis_that_forgets_or_is_away_cannot_be_used(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        url = server.url
        assert find_broker_fault(url) is None
        with redis.Redis.from_url(url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            password = client.get_connection_kwargs()["password"]
        forgets = find_broker_fault(url)
    away = find_broker_fault(url)
    assert forgets is not None
    assert forgets.message == f"{name_broker(url)} evicts keys when it is full (allkeys-lru)"
    assert away is not None
    assert away.message.startswith(f"{name_broker(url)}: ")
    assert not any(password in words for words in (*forgets, *away))
