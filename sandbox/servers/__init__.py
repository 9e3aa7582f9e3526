"""Real Postgres and Valkey servers on one machine, run from wheels: nothing to install, nothing left running."""

from sandbox.servers.ports import free_port
from sandbox.servers.postgres import EmbeddedPostgres
from sandbox.servers.valkey import EmbeddedRedis

__all__ = ["EmbeddedPostgres", "EmbeddedRedis", "free_port"]
