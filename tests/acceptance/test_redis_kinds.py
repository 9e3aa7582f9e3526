"""`rushes up` with a Redis behind TLS, on a Unix socket, and in cluster mode, which it refuses."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from rushes.monitoring.broker import open_redis
from rushes.settings import Settings
from stack.processes import process_environment, run_as_module, store_worker_command
from tests.acceptance.test_cli_up import ANY_PORT, READY
from tests.support.cli_process import PATIENCE_SECONDS, QUICK, ROOT, clean_environment, run_rushes, start_rushes
from tests.support.redis_servers import serve_cluster, serve_socket, serve_tls


@pytest.fixture
def folder() -> Iterator[Path]:
    """Its path is short, because the path of a socket must not exceed 107 bytes, 103 on macOS."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def render_with(folder: Path, url: str, **variables: str) -> None:
    """Render with this Redis; the doctor, the workers and Flower must all reach it."""
    variables |= {"RUSHES_REDIS_URL": url, "RUSHES_FLOWER_PASSWORD": "a"}
    (folder / "prompts.txt").write_text("a fox\n\na heron\n")
    with start_rushes("up", *ANY_PORT, folder=folder, **QUICK, **variables) as rushes:
        rushes.wait_for(READY)
        words = ["submit", "prompts.txt", "--model", "ltx-2-fast", "--batch", "pilot", "--wait", "--download", "films"]
        pushed = run_rushes(*words, folder=folder)
        assert pushed.returncode == 0, pushed.stderr
        assert len(list((folder / "films").glob("*.mp4"))) == 2
        said = run_rushes("doctor", folder=folder, **variables).stdout
        assert "evicts no keys" in said, said
        flower = next(line.split()[1] for line in rushes.lines if line.lower().startswith("flower"))

        def hears_of_workers() -> bool:
            with contextlib.suppress(requests.RequestException, ValueError):
                return (
                    len(requests.get(f"{flower}/api/workers?refresh=1", auth=("operator", "a"), timeout=60).json()) == 3
                )
            return False

        rushes.wait_until(hears_of_workers, what="Flower hears of all workers")


@pytest.mark.timeout(240)
def test_certificates_of_a_private_authority_are_verified_everywhere(folder: Path) -> None:
    with serve_tls(folder) as url:
        render_with(folder, url, RUSHES_CA_FILE=str(folder / "ca.pem"))
        said = run_rushes("doctor", folder=folder, RUSHES_REDIS_URL=url).stdout
        assert "certificate verify failed" in said.replace("\n", " ")
        words = "import workers.app; workers.app.app.connection().ensure_connection(max_retries=1, interval_start=0)"
        variables = {"RUSHES_REDIS_URL": url, "RUSHES_DATABASE_URL": "postgresql://a"}
        worker = subprocess.run(
            run_as_module(["timeit", "-n1", "-r1", words]),
            env=clean_environment(variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        assert "CERTIFICATE_VERIFY_FAILED" in worker.stderr


@pytest.mark.timeout(240)
@pytest.mark.parametrize("scheme", ["unix", "redis+socket"])
def test_a_unix_socket_serves_every_process(folder: Path, scheme: str) -> None:
    with serve_socket(folder, scheme=scheme, database=3) as url:
        render_with(folder, url)
        with open_redis(url, seconds=10) as client:
            assert client.info("keyspace").keys() == {"db3"}


@pytest.mark.timeout(240)
def test_cluster_mode_is_refused_with_the_reason(folder: Path, database_url: str) -> None:
    with serve_cluster(folder) as url:
        settings = Settings(database_url=database_url, redis_url=url, data_dir=folder)  # type: ignore[arg-type]
        said = run_rushes("doctor", folder=folder, RUSHES_REDIS_URL=url).stdout
        assert "is in cluster mode" in said.replace("\n", " ")
        up = run_rushes("up", *ANY_PORT, folder=folder, RUSHES_REDIS_URL=url)
        assert up.returncode == 1
        assert "is in cluster mode, which Celery does not support" in up.stderr
        worker = subprocess.run(
            run_as_module(store_worker_command(settings)),
            cwd=ROOT,
            env=process_environment(settings, clean_environment({})),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        assert worker.returncode == 78, worker.stderr
        assert "broker.unusable" in worker.stderr
