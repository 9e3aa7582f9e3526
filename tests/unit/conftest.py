"""Fixtures for tests of single modules."""

from pathlib import Path

import pytest

from cli.app import main
from tests.support.cli_stub import Run, StubApi


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in a folder of its own; without a stub nothing answers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUSHES_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TZ", "UTC")

    def run_command(stub: StubApi | None, *words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("RUSHES_URL", stub.url if stub else "http://127.0.0.1:9")
        code = main(list(words))
        return (code, *capsys.readouterr())

    return run_command
