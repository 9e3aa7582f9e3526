"""Prometheus' own tool, which checks metrics and rules."""

import shutil
import subprocess
from pathlib import Path

import pytest


def run_promtool(*words: str | Path, given: bytes = b"") -> None:
    """Run it, and fail the test with its words if it finds a fault. Skips the test if it is not on this machine."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed: apt-get download prometheus, then dpkg -x, as .ci/run does")
    done = subprocess.run([program, *words], input=given, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
