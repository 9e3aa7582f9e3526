"""`python -m bench push`: single jobs over 64 connections, alone and while a large batch loads."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import requests
from rich.console import Console

from bench.machine import measure_additions
from bench.processes import measure_cpu, subtract
from bench.rushes_stack import open_stack, order
from bench.tables import Table

PUSH = "push"
CONNECTIONS = 64
SECONDS, SECONDS_QUICK = 15.0, 3.0
WARM_UP_SECONDS = 2.0
BATCH_JOBS, BATCH_JOBS_QUICK = 100_000, 5_000
WANTED, WANTED_LOADING, ALLOWED_P99_MS = 500, 300, 300
_KINDS = ("client", "API", "Postgres")


@dataclass
class Pushes:
    """What the connections have measured: seconds per answer, and the answers that were not 201."""

    name: str
    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    failed: int = 0
    cpu: Mapping[str, float] = field(default_factory=dict)
    additions: float = 0.0  # millions per second of CPU, by Python, right after

    def show(self, wanted: int) -> tuple[str, ...]:
        """A row of the table, next to the targets."""
        waits, count = sorted(self.waits), len(self.waits)
        p50, p99 = (waits[min(count - 1, int(count * share))] * 1e3 for share in (0.5, 0.99))
        cpu = " ".join(f"{self.cpu.get(kind, 0.0) / count * 1e3:.2f}" for kind in _KINDS)
        rate = f"{count / self.seconds:.0f}"
        waited = f"{p50:.0f}", f"{p99:.0f}", f"{ALLOWED_P99_MS}"
        return self.name, rate, f"{wanted}", *waited, str(self.failed), cpu, f"{self.additions:.0f}"


class _Connection(asyncio.Protocol):
    """Sends one push after the other, each once the one before is answered. It parses as little as possible."""

    def __init__(self, head: str, name: str, pushes: Pushes, ends_at: float) -> None:
        self._head, self._name, self._pushes, self._ends_at = head, name, pushes, ends_at
        self._sent = 0
        self._began = 0.0
        self._answer = b""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        now = time.perf_counter()
        self._pushes.waits.append(now - self._began)
        self._pushes.failed += not head.startswith(b"HTTP/1.1 201")
        self._answer = b""
        if now < self._ends_at:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)

    def _send(self) -> None:
        self._sent += 1
        key = f"{self._name}-{self._sent}"
        body = json.dumps({**order(f"a lighthouse, take {key}"), "client_ref": key})
        self._began = time.perf_counter()
        self._transport.write(
            f"{self._head}Content-Length: {len(body)}\r\nIdempotency-Key: {key}\r\n\r\n{body}".encode()
        )


def measure_single_pushes(*, quick: bool, console: Console) -> list[Table]:
    """Push single jobs to a stack without workers."""
    seconds, jobs = (SECONDS_QUICK, BATCH_JOBS_QUICK) if quick else (SECONDS, BATCH_JOBS)
    with open_stack(workers=0, api_processes=os.cpu_count() or 1) as stack:
        url, key = stack.settings.url, stack.key
        _push_for(WARM_UP_SECONDS, "warm-up", url=url, key=key)
        alone = _push_for(seconds, "alone", url=url, key=key)
        console.print(f"alone: {len(alone.waits) / alone.seconds:.0f} per second")
        loading = _push_while_loading(jobs, url=url, key=key)
    names = ("single pushes", "per second", "wanted", "p50 ms", "p99 ms", "allowed", "failed")
    header = (*names, f"CPU ms per push: {', '.join(_KINDS)}", "M additions/s")
    rows = (alone.show(WANTED), loading.show(WANTED_LOADING))
    return [Table(f"{PUSH}: POST /v1/jobs with a key over {CONNECTIONS} connections", header, rows)]


def _push_while_loading(jobs: int, *, url: str, key: str) -> Pushes:
    """Push single jobs for as long as the API takes to answer the push of a batch."""
    batch = {"name": "large", "jobs": [order(f"prompt number {number}") for number in range(jobs)]}
    body, loaded = json.dumps(batch).encode(), threading.Event()

    def load() -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        try:
            requests.post(f"{url}/v1/batches", data=body, headers=headers, timeout=300).raise_for_status()
        finally:
            loaded.set()

    thread = threading.Thread(target=load)
    thread.start()
    pushes = _push_for(300.0, f"while {jobs:,} jobs load", url=url, key=key, until=loaded)
    thread.join()
    return pushes


def _push_for(seconds: float, name: str, *, url: str, key: str, until: threading.Event | None = None) -> Pushes:
    pushes = Pushes(name)
    before, client, began = measure_cpu(), time.process_time(), time.perf_counter()
    asyncio.run(_push(pushes, url=url, key=key, ends_at=began + seconds, until=until))
    pushes.seconds = time.perf_counter() - began
    pushes.cpu = {**subtract(measure_cpu(), before), "client": time.process_time() - client}
    pushes.additions = measure_additions()
    return pushes


async def _push(pushes: Pushes, *, url: str, key: str, ends_at: float, until: threading.Event | None) -> None:
    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n"
    head += "Content-Type: application/json\r\n"
    connections = []
    for number in range(CONNECTIONS):
        name = f"{pushes.name.split()[0]}-{number}"
        make = lambda name=name: _Connection(head, name, pushes, ends_at)  # noqa: E731 - a name for the next line
        connections.append((await loop.create_connection(make, str(parts.hostname), parts.port or 80))[1])
    if until is not None:
        await asyncio.to_thread(until.wait)
        for each in connections:
            each._ends_at = 0.0
    await asyncio.gather(*(each.ended for each in connections))
