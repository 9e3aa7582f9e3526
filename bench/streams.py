"""`python -m bench streams`: thousands of listeners to the event feed, each on a batch of its own."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast
from urllib.parse import urlsplit

import psycopg
import requests
from rich.console import Console

from bench.processes import measure_cpu, measure_memory, subtract
from bench.rushes_stack import open_stack
from bench.tables import Table

STREAMS = "streams"
LISTENERS, LISTENERS_QUICK = 5_000, 300
LONG_POLLERS = 1_000
"""Fewer, because each asks again after every event, and every 30 s: 5,000 would take most of a core."""
EVENTS_PER_SECOND = 100
SECONDS, SECONDS_QUICK = 30.0, 5.0
POLLED_ROUNDS = 300
ALLOWED_P99_MS = 1_000
CONNECTING = 100  # at a time
STATES = ("succeeded", "failed", "cancelled")
_AT = re.compile(rb'"at":"([^"]+)"')

_FILL = """
    INSERT INTO batch (id, name, job_count) SELECT uuidv7(), 'bench-' || n, 1 FROM generate_series(1, {count}) AS n;
    INSERT INTO job (id, batch_id, number, video_model, input, price, state, created_at)
    SELECT uuidv7(), id, 1, 'lightricks/ltx-2-fast/text-to-video', '{{"prompt": "a lighthouse", "duration": 6}}', 0.24,
        'queued', now() FROM batch;
    ANALYZE;
"""
_CHANGE = """
    WITH changed AS (UPDATE job SET priority = 1 + %(turn)s %% 9
        WHERE batch_id = (SELECT id FROM batch WHERE name = %(name)s) RETURNING id)
    INSERT INTO event (kind, job_id, detail) SELECT 'job.reprioritized', id, '{"by": "bench"}' FROM changed
"""


@dataclass
class Listening:
    """What the listeners of one kind have measured."""

    name: str
    listeners: int
    delays: list[float] = field(default_factory=list)  # seconds from the event to the client
    sent: int = 0
    refused: int = 0
    seconds: float = 0.0
    connect_seconds: float = 0.0
    connect_cpu: float = 0.0  # seconds, all listeners
    cpu: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: float = 0.0  # of the API, all listeners

    def show(self) -> tuple[str, ...]:
        """A row of the table, next to the limit."""
        delays = sorted(self.delays) or [0.0]
        p50, p99 = (delays[min(len(delays) - 1, int(len(delays) * share))] * 1e3 for share in (0.5, 0.99))
        api, postgres = (f"{self.cpu.get(kind, 0.0) / self.seconds * 100:.0f}" for kind in ("API", "Postgres"))
        connecting = f"{self.connect_seconds:.1f}", f"{self.connect_cpu / self.listeners * 1e3:.2f}"
        lost = f"{self.sent - len(self.delays)}, {self.refused}"
        kilobytes = f"{self.memory_bytes / self.listeners / 1e3:.0f}"
        waited = f"{p50:.0f}", f"{p99:.0f}", f"{ALLOWED_P99_MS:,}"
        return self.name, f"{self.listeners:,}", f"{self.sent:,}", lost, *waited, api, postgres, kilobytes, *connecting


class _Client(asyncio.Protocol):
    """Listens to one batch. It parses as little as possible."""

    def __init__(self, head: str, listening: Listening, is_ready: Callable[[], None]) -> None:
        self._head, self._listening, self._is_ready = head, listening, is_ready
        self._received = b""
        self._after = "latest"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_ready()

    def ask(self) -> None:
        self.transport.write(f"{self._head.format(after=self._after)}\r\n".encode())

    def note(self, data: bytes) -> None:
        """Note the delay of each item in this text."""
        now = time.time()
        for at in _AT.findall(data):
            self._listening.delays.append(now - datetime.fromisoformat(at.decode()).timestamp())


class _Stream(_Client):
    def data_received(self, data: bytes) -> None:
        self._received += data
        whole, found, rest = self._received.rpartition(b"\n\n")
        if found:
            self._received = rest
            self.note(whole)
            self._is_ready()


class _LongPoll(_Client):
    """Asks for its place first, then waits for events again and again."""

    def __init__(self, head: str, listening: Listening, is_ready: Callable[[], None]) -> None:
        super().__init__(head.replace("wait=30", "wait={wait}"), listening, is_ready)
        self._wait = 0

    def ask(self) -> None:
        self.transport.write(f"{self._head.format(after=self._after, wait=self._wait)}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        self._received = b""
        if not head.startswith(b"HTTP/1.1 200"):
            self._listening.refused += 1
            asyncio.get_running_loop().call_later(2, self.ask)
            return
        self.note(body)
        self._after, self._wait = json.loads(body)["cursor"], 30
        self._is_ready()
        self.ask()


def measure_streams(*, quick: bool, console: Console) -> list[Table]:
    """Listen in both ways to a stack without workers, and poll as a comparison."""
    listeners, seconds = (LISTENERS_QUICK, SECONDS_QUICK) if quick else (LISTENERS, SECONDS)
    with open_stack(workers=0) as stack:
        url, key, database = stack.settings.url, stack.key, stack.settings.get_database_url()
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(_FILL.format(count=listeners).encode())
        console.print(f"filled: {listeners:,} batches")
        idle = _measure_idle(url, key, seconds=seconds / 3)
        rows = []
        for name, count, path, client in (
            ("stream", listeners, "/v1/events/stream?after={after}&batch=", _Stream),
            ("long polling", min(listeners, LONG_POLLERS), "/v1/events?wait=30&after={after}&batch=", _LongPoll),
        ):
            listening = Listening(name, count)
            asyncio.run(_listen(listening, client, f"{url}{path}", key=key, database=database, size=(count, seconds)))
            console.print(f"{name}: {len(listening.delays):,} events")
            rows.append(listening)
        polled = _poll(url, key)
    return [_make_table(rows), _make_cost_table(rows, polled=polled, idle=idle)]


async def _listen(
    listening: Listening, client: type[_Client], address: str, *, key: str, database: str, size: tuple[int, float]
) -> None:
    """Connect everybody, and send events for a while."""
    loop, parts, (listeners, seconds) = asyncio.get_running_loop(), urlsplit(address), size
    room, before, memory, began = asyncio.Semaphore(CONNECTING), measure_cpu(), measure_memory(), time.perf_counter()
    clients: list[_Client] = []

    async def connect(number: int) -> None:
        path = f"{parts.path}?{parts.query}bench-{number}"
        head = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n"
        ready = asyncio.Event()
        async with room:
            make = lambda: client(head, listening, ready.set)  # noqa: E731
            clients.append((await loop.create_connection(make, str(parts.hostname), parts.port or 80))[1])
            await ready.wait()

    await asyncio.gather(*(connect(number) for number in range(1, listeners + 1)))
    listening.connect_seconds = time.perf_counter() - began
    await asyncio.sleep(5)  # the last long polls arrive
    listening.connect_cpu = subtract(measure_cpu(), before).get("API", 0.0)
    before, began = measure_cpu(), time.perf_counter()
    listening.sent = await asyncio.to_thread(_write, database, listeners, seconds)
    listening.seconds = time.perf_counter() - began
    listening.cpu = subtract(measure_cpu(), before)
    listening.memory_bytes = measure_memory()["API"] - memory["API"]
    await asyncio.sleep(2)
    for each in clients:
        each.transport.close()
    await asyncio.sleep(1)


def _write(database: str, listeners: int, seconds: float) -> int:
    """Change one job after the other, at a steady rate. Returns how many."""
    began, sent = time.perf_counter(), 0
    with psycopg.connect(database, autocommit=True) as connection:
        while time.perf_counter() - began < seconds:
            connection.execute(_CHANGE, {"turn": sent, "name": f"bench-{sent * 7919 % listeners + 1}"})
            sent += 1
            time.sleep(max(0.0, began + sent / EVENTS_PER_SECOND - time.perf_counter()))
    return sent


def _measure_idle(url: str, key: str, *, seconds: float) -> Mapping[str, float]:
    """CPU per second of a hub with one listener, while nothing happens."""
    over = threading.Event()

    def listen() -> None:
        headers = {"Authorization": f"Bearer {key}"}
        with requests.get(f"{url}/v1/events/stream?after=latest", headers=headers, stream=True, timeout=60) as answer:
            next(answer.iter_lines())
            over.wait()

    thread = threading.Thread(target=listen)
    thread.start()
    time.sleep(1)
    before = measure_cpu()
    time.sleep(seconds)
    spent = subtract(measure_cpu(), before)
    over.set()
    thread.join()
    return {kind: each / seconds for kind, each in spent.items()}


def _poll(url: str, key: str) -> Mapping[str, float]:
    """CPU seconds of one round of a client that asks for the jobs of its batch in each final state."""
    before = measure_cpu()
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        for number in range(1, POLLED_ROUNDS + 1):
            for state in STATES:
                asked = {"batch": f"bench-{number % LISTENERS_QUICK + 1}", "state": state}
                session.get(f"{url}/v1/jobs", params=asked, timeout=60).raise_for_status()
    return {kind: each / POLLED_ROUNDS for kind, each in subtract(measure_cpu(), before).items()}


def _make_table(rows: Sequence[Listening]) -> Table:
    names = (
        "",
        "events",
        "lost, refused",
        "p50 ms",
        "p99 ms",
        "allowed",
        "API CPU %",
        "Postgres CPU %",
        "API kB per listener",
    )
    title = f"{STREAMS}: each listener on its own batch, {EVENTS_PER_SECOND} events per second in all"
    return Table(title, (*names, "connect all s", "API CPU ms per connect"), tuple(each.show() for each in rows))


def _make_cost_table(rows: Sequence[Listening], *, polled: Mapping[str, float], idle: Mapping[str, float]) -> Table:
    """CPU of API and Postgres together, in milliseconds per listener and second."""

    def add(cpu: Mapping[str, float]) -> float:
        return (cpu.get("API", 0.0) + cpu.get("Postgres", 0.0)) * 1e3

    costs = {each.name: add(each.cpu) / each.seconds / each.listeners for each in rows}
    costs["polling three states every second"] = add(polled)
    first = costs[rows[0].name] or 1.0
    lines = [(name, f"{cost:.3f}", f"{cost / first:.1f}") for name, cost in costs.items()]
    lines.append(("one listener, nothing happens", f"{add(idle):.1f}", ""))
    return Table(f"{STREAMS}: CPU", ("", "ms per listener and second", "of a stream's"), tuple(lines))
