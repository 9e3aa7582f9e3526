"""A short run of `rushes chaos` in a temporary folder."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.app import main

RunChaos = Callable[..., dict[str, Any]]


@pytest.fixture
def run_chaos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunChaos:
    """A function that makes one run with these options, and returns its report; every promise must hold."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def run(*options: str) -> dict[str, Any]:
        code = main(["chaos", *options, "--json"])
        out, err = capsys.readouterr()
        answer = json.loads(out)
        assert (code, answer["ok"]) == (0, True), err
        (report,) = answer["runs"]
        return dict(report)

    return run
