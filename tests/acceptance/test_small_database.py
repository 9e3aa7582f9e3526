"""`rushes up` on a database that allows 20 connections, three of them for superusers only."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sandbox.servers import EmbeddedPostgres
from sandbox.servers import postgres as embedded_postgres
from tests.acceptance.test_cli_up import ANY_PORT, READY
from tests.support.cli_process import QUICK, run_rushes, start_rushes

COUNT = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'guest'"
ENOUGH = 15
"""Two of the 17 are left for the doctor, a health check or an audit."""


@pytest.fixture
def small_postgres(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPostgres]:
    monkeypatch.setitem(embedded_postgres.SETTINGS, "max_connections", "20")
    with EmbeddedPostgres(server_folder / "small", fsync=False) as server:
        yield server


@pytest.mark.timeout(240)
def test_twenty_connections_are_enough_for_a_whole_stack(small_postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    with psycopg.connect(small_postgres.url, autocommit=True) as owner:
        owner.execute("CREATE ROLE guest LOGIN PASSWORD 'a'")
        owner.execute("CREATE DATABASE films OWNER guest")
        url = f"postgresql://guest:a@127.0.0.1:{small_postgres.port}/films"
        folder = tmp_path / "up"
        folder.mkdir()
        (folder / "prompts.txt").write_text("\n".join(f"take {number}" for number in range(40)))
        with start_rushes("up", *ANY_PORT, folder=folder, RUSHES_DATABASE_URL=url, **QUICK) as rushes:
            rushes.wait_for(READY)
            pushed = ["submit", "prompts.txt", "--batch", "pilot", "--wait", "--model", "ltx-2-fast"]
            assert run_rushes(*pushed, folder=folder).returncode == 0
            assert (owner.execute(COUNT).fetchone() or (99,))[0] <= ENOUGH
            for command in ("doctor", "audit"):
                assert "connection slots" not in run_rushes(command, folder=folder).stdout
        logs = "".join(path.read_text() for path in (folder / ".rushes" / "logs").glob("*.log"))
    assert "database_away" not in logs
    assert "connection slots" not in logs
