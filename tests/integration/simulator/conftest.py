"""The simulator that a file keeps `running` for its tests, and a client of it."""

from collections.abc import Iterator

import pytest

from sandbox.wavespeed.handle import Simulator
from tests.support.simulator_client import Api


@pytest.fixture
def simulator(running: Simulator) -> Iterator[Simulator]:
    yield running
    running.clear_faults()


@pytest.fixture
def api(simulator: Simulator) -> Api:
    return Api(simulator)
