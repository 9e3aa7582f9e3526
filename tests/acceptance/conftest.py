"""Fixtures of tests that kill: a broker of the test's own, and a farm on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.servers import EmbeddedRedis
from tests.acceptance.farm import Farm, open_farm


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A Redis of the test's own, that may die."""
    with EmbeddedRedis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def farm(database_url: str, broker: EmbeddedRedis, tmp_path: Path) -> Iterator[Farm]:
    """A farm without workers yet; files that need other settings have a fixture of their own by this name."""
    with open_farm(database_url=database_url, redis_url=broker.url, folder=tmp_path) as started:
        yield started
