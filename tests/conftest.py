"""Fixtures for every test."""

import os
from collections.abc import Generator
from itertools import chain, groupby
from typing import Any

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
    spare_databases,
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
    "spare_databases",
]

LONGEST = ("tests/chaos/", "tests/acceptance/", "tests/integration/test_")
"""Where tests start processes and wait for them, the longest first."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the longest tests out to the workers, which run them first: at the end, one would keep a worker idle.

    pytest-xdist gives each worker a slice of the list, all of the same length; a file's tests stay together.
    """
    workers = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    long = [item for folder in LONGEST for item in items if item.nodeid.startswith(folder)]
    short = [item for item in items if not item.nodeid.startswith(LONGEST)]
    files = [list(tests) for _, tests in groupby(long, key=lambda item: item.path)]
    share = -(-len(short) // workers)
    items.clear()
    for number in range(workers):
        items.extend(chain(*files[number::workers], short[number * share : (number + 1) * share]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Fail a test that would be skipped under `.ci/run`, which installs everything that the tests need."""
    report = yield
    if report.skipped and "NO_SKIPPED_TEST" in os.environ:
        report.outcome = "failed"
    return report


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Two for each of a few processors: tests with real processes mostly wait for leases and time-outs to run out."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    processors = os.cpu_count() or 1
    return max(processors, min(2 * processors, 8))
