"""Whether a Redis can be used as the broker."""

from typing import NamedTuple
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_SECONDS = 5


class BrokerFault(NamedTuple):
    """Why it cannot be used, with its host and port but without its password, and what to do about it."""

    message: str
    advice: str


def find_broker_fault(url: str) -> BrokerFault | None:
    """None if the Redis at `url` answers and evicts no keys."""
    place = name_broker(url)
    seconds = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
    try:
        with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **seconds) as client:
            client.ping()
            policy = client.info("memory").get("maxmemory_policy")
    except (redis.RedisError, OSError, ValueError) as error:
        return BrokerFault(f"{place}: {error}", "start it, and see that RUSHES_REDIS_URL names it")
    if policy not in (None, "noeviction"):
        advice = "set maxmemory-policy to noeviction: a queue must refuse, never forget"
        return BrokerFault(f"{place} forgets when it is full ({policy})", advice)
    return None


def name_broker(url: str) -> str:
    """Its host and port."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"
