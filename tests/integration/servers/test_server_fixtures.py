"""The fixtures that hand real servers to tests: each test has its own data, and a broken run leaves none."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from sandbox.servers import EmbeddedPostgres
from sandbox.servers.process import wait_until
from tests.support.embedded import DEADLINE_SECONDS, is_gone, recall, remember
from tests.support.servers import ROOT, cloned_database


def test_each_test_has_a_database_of_its_own(postgres: EmbeddedPostgres) -> None:
    with cloned_database(postgres, template="template1") as template:
        remember(template, "from the template")
        name = template.rsplit("/", 1)[1]
        with cloned_database(postgres, template=name) as one, cloned_database(postgres, template=name) as other:
            remember(one, "its own")
            assert recall(one) == ["from the template", "its own"]
            assert recall(other) == ["from the template"]


def test_a_database_is_dropped_even_while_somebody_is_connected(postgres: EmbeddedPostgres) -> None:
    with cloned_database(postgres, template="template1") as url:
        left_open = psycopg.connect(url)
    with left_open, pytest.raises(psycopg.OperationalError):
        left_open.execute("select 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_a_database_has_every_migration(database_url: str) -> None:
    with psycopg.connect(database_url) as session:
        assert session.execute("select count(*) from alembic_version").fetchone() == (1,)


@pytest.mark.parametrize("round_number", [1, 2])
def test_each_test_has_an_empty_redis(redis_url: str, round_number: int) -> None:
    assert recall(redis_url) == []
    remember(redis_url, f"left by round {round_number}")


INTERRUPTED = """
from pathlib import Path
import time
def test_that_never_ends(postgres, redis_server):
    Path(__file__).with_name("pids").write_text(f"{postgres.pid} {redis_server.pid}\\n")
    time.sleep(600)
"""


PYTEST_MAIN = """
import signal, sys
import pytest
from xdist.workermanage import NodeManager
NodeManager.EXIT_TIMEOUT = 60  # after its ten seconds a worker that is slow to stop both servers is killed
signal.signal(2, signal.default_int_handler)
sys.exit(pytest.main())
"""


@pytest.mark.parametrize("options", [[], ["-n1"]], ids=["alone", "xdist"])
def test_an_interrupted_test_run_leaves_no_server_and_no_data(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_inner.py").write_text(INTERRUPTED)
    plugins = ["-p", "no:cacheprovider", "-p", "no:valkey", "-p", "tests.support.servers", "--rootdir", str(tmp_path)]
    inner = subprocess.Popen(
        [sys.executable, "-c", PYTEST_MAIN, *plugins, *options, "--basetemp", tmp_path / "base", tmp_path],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with inner:
        note = tmp_path / "pids"
        started = wait_until(lambda: note.exists() and note.read_text().endswith("\n"), seconds=DEADLINE_SECONDS)
        os.killpg(inner.pid, signal.SIGINT if started else signal.SIGKILL)
        output, _ = inner.communicate(timeout=DEADLINE_SECONDS)
    assert started, output.decode()
    assert all(is_gone(int(pid)) for pid in note.read_text().split())
    assert not list((tmp_path / "base").rglob("server.log"))
