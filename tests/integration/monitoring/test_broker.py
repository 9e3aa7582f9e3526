"""Whether a Redis can be used as the broker: it answers, and evicts nothing."""

from pathlib import Path

import pytest
import redis

from rushes.monitoring.broker import find_broker_fault, name_broker, open_redis, spell_broker
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
    assert not any(password in words for words in (*forgets[:2], *away[:2]))


@pytest.mark.parametrize("database", ["", "?db=3", "?virtual_host=3"])
@pytest.mark.parametrize("scheme", ["unix", "redis+socket"])
def test_both_spellings_of_a_socket_reach_the_same_database(scheme: str, database: str) -> None:
    number = int(database[-1:] or 0)
    url = f"{scheme}://:a@/run/redis.sock{database}"
    with open_redis(url, seconds=1) as client:
        found = client.get_connection_kwargs()
    assert (found["path"], found["password"], found["db"]) == ("/run/redis.sock", "a", number)
    assert spell_broker(url) == f"redis+socket://:a@/run/redis.sock?virtual_host={number}"
    assert name_broker(url) == "/run/redis.sock"
