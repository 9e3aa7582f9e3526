"""An API process with open streams: SIGTERM ends it at once, and clients go on at another one."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from sandbox.servers.ports import free_port
from sandbox.servers.process import tie_to_us
from stack.processes import LOOPBACK, api_command, default_settings, process_environment, run_as_module
from tests.support.access import KEY, bearing
from tests.support.api_server import new_job
from tests.support.event_stream import EventStream
from tests.support.simulator_client import wait_until

STREAMS = 200
STOP_SECONDS = 12
"""Far below the time that the server gives to requests in progress."""


@contextmanager
def serve(database_url: str, folder: Path, log: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """An API process, and its address."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    environment = process_environment(default_settings(database_url=database_url, data_dir=folder), os.environ)
    command = tie_to_us(run_as_module(api_command(host=LOOPBACK, port=port)))
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        wait_until(lambda: _is_ready(url), "the API")
        yield url, process
    finally:
        process.kill()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def push(url: str) -> str:
    answer = httpx.post(f"{url}/v1/jobs", json=new_job(), headers=bearing(KEY), trust_env=False)
    job_id: str = answer.raise_for_status().json()["id"]
    return job_id


def test_open_streams_do_not_delay_a_stop_and_miss_nothing(database_url: str, tmp_path: Path) -> None:
    log = tmp_path / "first.log"
    with serve(database_url, tmp_path, log) as (url, process), ExitStack() as stack:
        streams = [stack.enter_context(EventStream(url, "after=latest")) for _ in range(STREAMS)]
        first = push(url)
        assert all(each.read_items(1)[0]["job_id"] == first for each in streams)
        process.terminate()
        began = time.monotonic()
        assert all(each.read_to_end() >= 0 for each in streams)
        process.wait(60)
        assert time.monotonic() - began < STOP_SECONDS
    assert "Traceback" not in log.read_text()
    assert log.read_text().count("/v1/events/stream") == STREAMS
    with serve(database_url, tmp_path, tmp_path / "second.log") as (url, _):
        second = push(url)
        for each in streams[:3]:
            with EventStream(url, last_id=each.last_id) as again:
                assert again.read_items(1)[0]["job_id"] == second
