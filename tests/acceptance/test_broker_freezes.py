"""Redis freezes and dies while workers wait for it: they consume again from the one that comes after."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.servers import EmbeddedRedis
from tests.acceptance.farm import Farm, open_farm

JOBS = 12


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A Redis of the test's own, that may die."""
    with EmbeddedRedis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def farm(database_url: str, broker: EmbeddedRedis, tmp_path: Path) -> Iterator[Farm]:
    with open_farm(database_url=database_url, redis_url=broker.url, folder=tmp_path) as started:
        yield started


def test_workers_consume_again_after_redis_froze_and_died(farm: Farm, broker: EmbeddedRedis) -> None:
    farm.start_worker()
    farm.start_store()
    farm.push([f"take {number}" for number in range(JOBS)], batch="before")
    farm.wait_until(lambda: farm.count_jobs("succeeded") >= 3, what="a few jobs have succeeded")

    os.kill(broker.pid, signal.SIGSTOP)
    lapsed = "SELECT count(*) FROM leader WHERE lease_until < now()"
    farm.wait_until(lambda: farm.count(lapsed) == 1, what="the dispatcher hangs on the frozen Redis", seconds=20)
    broker.kill()
    broker.start()
    farm.push([f"take {number}" for number in range(JOBS)], batch="after")

    farm.wait_for_all(60)
    assert farm.count_jobs("succeeded") == 2 * JOBS, farm.describe()
