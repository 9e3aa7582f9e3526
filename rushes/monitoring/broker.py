"""Connect to a Redis, and check whether it can be used as the broker."""

import ssl
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_SECONDS = 5


class BrokerFault(NamedTuple):
    """The reason why a Redis cannot be used, with host and port but without the password, and the advice."""

    message: str
    advice: str
    is_final: bool = False  # waiting does not help


def open_redis(url: str, *, seconds: float, ca_file: Path | None = None) -> redis.Redis:
    """Prepare a connection in addition to Celery's. Each call answers or fails within `seconds`."""
    return redis.Redis.from_url(
        _spell_socket(url, scheme="unix", database="db"),
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
        **(find_tls(url, ca_file) or {}),
    )


def find_tls(url: str, ca_file: Path | None) -> dict[str, Any] | None:
    """The options with which redis-py, Celery and Flower verify the certificate of a `rediss://` server."""
    if not url.startswith("rediss:"):
        return None
    options = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    return options | ({"ssl_ca_certs": str(ca_file)} if ca_file is not None else {})


def spell_broker(url: str) -> str:
    """The same address, spelled for Celery and Flower."""
    return _spell_socket(url, scheme="redis+socket", database="virtual_host")


def _spell_socket(url: str, *, scheme: str, database: str) -> str:
    """The address of a Unix socket in one of its two spellings; any other address as it is."""
    parts = urlsplit(url)
    if parts.scheme not in ("unix", "redis+socket"):
        return url
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    number = query.pop("virtual_host", None) or query.pop("db", "0")
    return f"{scheme}://{parts.netloc}{parts.path}?{urlencode(query | {database: number})}"


def find_broker_fault(url: str, *, ca_file: Path | None = None) -> BrokerFault | None:
    """Return None if the Redis at `url` answers, is not in cluster mode, and evicts no keys."""
    place = name_broker(url)
    try:
        with open_redis(url, seconds=TIMEOUT_SECONDS, ca_file=ca_file) as client:
            client.ping()
            is_cluster = client.info("cluster").get("cluster_enabled")
            policy = client.info("memory").get("maxmemory_policy")
    except (redis.RedisError, OSError, ValueError) as error:
        return BrokerFault(f"{place}: {error}", "start it, and check that RUSHES_REDIS_URL points to it")
    if is_cluster:
        advice = "use a Redis without cluster mode: Celery reads several queues with one command"
        return BrokerFault(f"{place} is in cluster mode, which Celery does not support", advice, is_final=True)
    if policy not in (None, "noeviction"):
        advice = "set maxmemory-policy to noeviction: a full queue must refuse messages, not lose them"
        return BrokerFault(f"{place} evicts keys when it is full ({policy})", advice)
    return None


def name_broker(url: str) -> str:
    """Return the host and port of a Redis, or the path of its socket."""
    parts = urlsplit(url)
    if parts.scheme in ("unix", "redis+socket"):
        return parts.path
    return f"{parts.hostname}:{parts.port or 6379}"
