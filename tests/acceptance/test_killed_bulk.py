"""An API process that is killed while it adds jobs to a batch: nothing is stored, and the same request works again."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from sandbox.servers.ports import free_port
from sandbox.servers.process import tie_to_us
from stack.processes import LOOPBACK, api_command, default_settings, process_environment, run_as_module
from tests.support.access import KEY, bearing
from tests.support.api_server import new_job
from tests.support.simulator_client import wait_until

LINES = b"".join(json.dumps(new_job(client_ref=f"S-{number}")).encode() + b"\n" for number in range(5_000))
HEADERS = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "k-1"}
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@contextmanager
def running_api(database_url: str, folder: Path) -> Iterator[tuple[httpx.Client, "subprocess.Popen[bytes]"]]:
    port = free_port()
    environment = process_environment(default_settings(database_url=database_url, data_dir=folder), os.environ)
    command = tie_to_us(run_as_module(api_command(host=LOOPBACK, port=port)))
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        place = f"http://{LOOPBACK}:{port}"
        with httpx.Client(base_url=place, timeout=120, trust_env=False, headers=bearing(KEY)) as client:
            wait_until(lambda: is_ready(client), "the API")
            yield client, process
    finally:
        process.kill()
        process.wait(60)


def is_ready(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/readyz").status_code == 200
    return False


def add(client: httpx.Client) -> httpx.Response | None:
    with contextlib.suppress(httpx.TransportError):
        return client.post("/v1/batches/night/jobs", content=LINES, headers=HEADERS)
    return None


@pytest.mark.parametrize("table", ["job", "event"])  # before and after the jobs are written
def test_a_killed_process_leaves_no_job_of_a_request(database_url: str, tmp_path: Path, table: str) -> None:
    with (
        psycopg.connect(database_url) as blocking,
        psycopg.connect(database_url, autocommit=True) as watching,
        ThreadPoolExecutor(1) as pool,
    ):
        with running_api(database_url, tmp_path) as (client, process):
            client.post("/v1/batches", json={"name": "night"}).raise_for_status()
            blocking.execute(f"LOCK TABLE {table} IN SHARE MODE")  # no statement of the request can write to it
            adding = pool.submit(add, client)
            wait_until(lambda: count(watching, BLOCKED) > 0, "the request to wait")
            process.send_signal(signal.SIGKILL)
            assert adding.result(60) is None
        blocking.rollback()
        wait_until(lambda: count(watching, BLOCKED) == 0, "the end of its transaction")
        wait_until(lambda: count(watching, "SELECT count(*) FROM job") == 0, "no job")
        assert count(watching, "SELECT job_count FROM batch") == 0
        with running_api(database_url, tmp_path) as (client, _):
            for _ in range(2):
                again = add(client)
                assert again is not None
                assert (again.status_code, again.json()["jobs"]) == (201, 5_000)
        assert count(watching, "SELECT count(*) FROM job") == 5_000


def count(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()  # type: ignore[call-overload] # constants of this file
    assert row is not None
    return int(row[0])
