"""Connect to a Redis, and check whether it can be used as the broker."""

from typing import NamedTuple
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_SECONDS = 5


class BrokerFault(NamedTuple):
    """The reason why a Redis cannot be used, with host and port but without the password, and the advice."""

    message: str
    advice: str


def open_redis(url: str, *, seconds: float) -> redis.Redis:
    """Prepare a connection in addition to Celery's. Each call answers or fails within `seconds`."""
    return redis.Redis.from_url(
        url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 0)
    )


def find_broker_fault(url: str) -> BrokerFault | None:
    """Return None if the Redis at `url` answers and evicts no keys."""
    place = name_broker(url)
    try:
        with open_redis(url, seconds=TIMEOUT_SECONDS) as client:
            client.ping()
            policy = client.info("memory").get("maxmemory_policy")
    except (redis.RedisError, OSError, ValueError) as error:
        return BrokerFault(f"{place}: {error}", "start it, and check that RUSHES_REDIS_URL points to it")
    if policy not in (None, "noeviction"):
        advice = "set maxmemory-policy to noeviction: a full queue must refuse messages, not lose them"
        return BrokerFault(f"{place} evicts keys when it is full ({policy})", advice)
    return None


def name_broker(url: str) -> str:
    """Return the host and port of a Redis."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"
