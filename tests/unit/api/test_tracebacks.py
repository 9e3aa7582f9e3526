"""What a bug leaves in the log."""

import subprocess
import sys

import pytest

STUMBLE = """
import structlog
from rushes.logs import configure_logging

def stumble():
    address = "postgresql://user:" + "hu" + "sh@127.0.0.1/rushes"
    return 1 / 0

configure_logging(as_json={as_json})
try:
    stumble()
except ZeroDivisionError:
    structlog.get_logger("test").exception("request.failed", route="/v1/jobs")
"""


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_the_code_but_no_values(as_json: bool) -> None:
    script = STUMBLE.format(as_json=as_json)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "in stumble" in ran.stderr
    assert "ZeroDivisionError" in ran.stderr
    assert "hush" not in ran.stderr
