"""Equal pushes with one Idempotency-Key, cut connections and killed API processes: exactly one job or batch."""

import contextlib
import http.client
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sandbox.servers.ports import free_port
from sandbox.servers.process import tie_to_us
from stack.processes import LOOPBACK, api_command, default_settings, process_environment, run_as_module
from tests.support.access import KEY, bearing
from tests.support.api_server import new_job

CLIENTS = 64
READY_SECONDS = ANSWER_SECONDS = 60.0
SEEDS = (1, 2, 3)
"""One push each. The first two kill a process, the last one only cuts connections."""


@dataclass
class Apis:
    """API processes on one database, of which a test may kill all but one."""

    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)  # by port

    def list_ports(self) -> list[int]:
        return [port for port, process in self.processes.items() if process.poll() is None]

    def kill_one(self, choice: random.Random) -> None:
        self.processes[choice.choice(self.list_ports())].send_signal(signal.SIGKILL)


@pytest.fixture
def apis(database_url: str, tmp_path: Path) -> Iterator[Apis]:
    apis, settings = Apis(), default_settings(database_url=database_url, data_dir=tmp_path)
    environment = process_environment(settings, os.environ)
    try:
        for _ in SEEDS:
            port = free_port()
            command = tie_to_us(run_as_module(api_command(host=LOOPBACK, port=port)))
            apis.processes[port] = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        for port in apis.processes:
            wait_for(lambda port=port: is_ready(port))
        yield apis
    finally:
        for process in apis.processes.values():
            process.kill()
            process.wait()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=READY_SECONDS)
    with contextlib.suppress(OSError), contextlib.closing(connection):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    return False


@dataclass
class Push:
    """A push that many clients send until each has an answer."""

    apis: Apis
    seed: int
    path: str
    body: dict[str, Any]
    sent: Iterator[int] = field(default_factory=itertools.count)

    def send_until_answered(self, client: int) -> tuple[int, bytes, bool]:
        """Status, body, and whether the answer is a repetition."""
        choice = random.Random(f"{self.seed} {client}")
        kill_at = random.Random(self.seed).randrange(2, CLIENTS) if self.seed != SEEDS[-1] else None
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline:
            port = choice.choice(self.apis.list_ports())
            with contextlib.suppress(OSError, http.client.HTTPException):
                if next(self.sent) == kill_at:
                    self.apis.kill_one(choice)
                if choice.random() < 0.4:
                    self.cut(port, choice)
                elif (answer := self.send(port)) is not None:
                    return answer
        raise AssertionError("no answer")

    def send(self, port: int) -> tuple[int, bytes, bool] | None:
        """The answer; None if an equal push is in progress."""
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWER_SECONDS)
        with contextlib.closing(connection):
            connection.request("POST", self.path, json.dumps(self.body), self.list_headers())
            answer = connection.getresponse()
            body = answer.read()
            if answer.status in {409, 503} and answer.headers["Retry-After"]:
                return None
            return answer.status, body, "Idempotency-Replayed" in answer.headers

    def cut(self, port: int, choice: random.Random) -> None:
        """Send some or all of the request, and do not wait for the answer."""
        content = json.dumps(self.body)
        headers = {"Host": "api", "Content-Length": str(len(content)), **self.list_headers()}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", content]
        request = "\r\n".join(lines).encode()
        with socket.create_connection((LOOPBACK, port), timeout=ANSWER_SECONDS) as connection:
            connection.sendall(request[: choice.choice([len(request), len(request), choice.randrange(len(request))])])

    def list_headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json", "Idempotency-Key": f'"push-{self.seed}"', **bearing(KEY)}


def test_equal_pushes_make_one_job_or_batch_whoever_dies(apis: Apis, database_url: str) -> None:
    for seed in SEEDS:
        jobs = [new_job(client_ref=f"{seed}-{number}") for number in range(3)]
        path, body = ("/v1/batches", {"name": f"b{seed}", "jobs": jobs}) if seed % 2 else ("/v1/jobs", jobs[0])
        push = Push(apis, seed, path, body)
        with ThreadPoolExecutor(CLIENTS) as clients:
            answers = list(clients.map(push.send_until_answered, range(CLIENTS)))
        assert {status for status, _, _ in answers} == {201}
        assert len({content for _, content, _ in answers}) == 1
        assert sum(not is_repeat for _, _, is_repeat in answers) <= 1
        with psycopg.connect(database_url) as session:
            made = session.execute("SELECT client_ref FROM job WHERE client_ref LIKE %s", (f"{seed}-%",)).fetchall()
        assert sorted(each for (each,) in made) == sorted(
            each["client_ref"] for each in (jobs if seed % 2 else jobs[:1])
        )
    assert len(apis.list_ports()) == 1
