"""A runtime that may call this machine."""

from typing import Any

import pytest


@pytest.fixture
def runtime_settings() -> dict[str, Any]:
    return {"url_allow": "127.0.0.1", "api_base": "https://rushes.example"}
