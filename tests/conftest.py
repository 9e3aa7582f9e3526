"""Fixtures for every test."""

import os

import pytest
from hypothesis import settings

from tests.support.servers import (
    database_url,
    migrated_template,
    postgres,
    redis_server,
    redis_url,
    server_folder,
    servers_running,
)

# Machines are shared and slow by turns: how long an example takes says nothing about it. The same examples in every
# run: new ones are searched for by `--hypothesis-profile=explore`, not by who checks a change.
settings.register_profile("rushes", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("rushes")

__all__ = [
    "database_url",
    "migrated_template",
    "postgres",
    "redis_server",
    "redis_url",
    "server_folder",
    "servers_running",
]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Two for each of a few processors: tests with real processes mostly wait for leases and time-outs to run out."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    processors = os.cpu_count() or 1
    return max(processors, min(2 * processors, 8))
