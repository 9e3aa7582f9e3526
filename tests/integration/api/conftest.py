"""An API of its own for each test; a file whose tests need another defines it itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_server import Api, serve_api


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with serve_api(database_url, tmp_path) as served:
        yield served
