"""Fixtures for tests of what is stored, and of a runtime against the simulator."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from models.db.session import Sessions, open_engine, open_sessions
from rushes.runtime import Runtime
from sandbox.servers import EmbeddedPostgres
from sandbox.wavespeed.handle import Simulator
from tests.support.output_host import OutputHost, open_output_host
from tests.support.rows import open_session
from tests.support.runtimes import open_runtime
from tests.support.servers import create_database, url_of


@pytest.fixture(autouse=True)
def _unforced() -> Iterator[None]:
    """A rate slot waits for a machine that stands still; where it passes, tests say so themselves."""
    with pytest.MonkeyPatch.context() as patch:  # of its own, since tests undo theirs
        patch.setattr("models.transitions.submitting.RATE_SLOT_TOLERANCE", timedelta(minutes=2))
        patch.setattr("rushes.submitting.submit.SEND_ALLOWANCE", timedelta(minutes=2))
        yield


@pytest.fixture(scope="session")
def scratch_database(postgres: EmbeddedPostgres, migrated_template: str) -> str:
    """The name of a migrated database in which nothing is ever committed."""
    postgres.start()
    return create_database(postgres, template=migrated_template)


@pytest.fixture
def scratch(postgres: EmbeddedPostgres, scratch_database: str) -> Iterator[Session]:
    """A session whose transaction is rolled back: cheaper than a database of the test's own."""
    postgres.start()
    with open_session(url_of(postgres, scratch_database)) as session:
        yield session


@pytest.fixture
def sessions(database_url: str) -> Iterator[Sessions]:
    """Sessions on the test's database, for tests that commit or race."""
    engine = open_engine(database_url, pool_size=10)
    yield open_sessions(engine)
    engine.dispose()


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """The provider of `runtime`; files that need another one define it anew."""
    with Simulator() as started:
        yield started


@pytest.fixture
def runtime_settings() -> dict[str, Any]:
    """Further settings of `runtime`; files that need some define them anew."""
    return {}


@pytest.fixture
def runtime(
    database_url: str, simulator: Simulator, tmp_path: Path, runtime_settings: dict[str, Any]
) -> Iterator[Runtime]:
    """A runtime on a database of the test's own, against `simulator`."""
    opened = open_runtime(database_url, simulator, tmp_path, **runtime_settings)
    yield opened
    opened.close()


@pytest.fixture
def host() -> Iterator[OutputHost]:
    """An output host of the test's own."""
    with open_output_host() as opened:
        yield opened
