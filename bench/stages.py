"""The measurements, each on a stack of its own in a temporary folder."""

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import requests

from bench.machine import measure_commit_rate, measure_copy_rate
from bench.processes import Usage, measure_usage, subtract
from cli.environment import default_settings
from cli.interrupts import Interrupts
from cli.stack import Stack, StackOptions

INSTANT_SECONDS = 0.02
CLIENTS = 8
PATIENCE_SECONDS = 1_800.0


@dataclass(frozen=True, slots=True)
class Pushing:
    """Jobs per second."""

    batch: float
    single: float
    copy: float  # rows of a bare COPY, in the same run
    commit: float  # single-row transactions, in the same run


@dataclass(frozen=True, slots=True)
class Rendering:
    """What a number of renders took, from the first submission to the last stored file."""

    renders: int
    seconds: float
    usage: dict[str, Usage]
    requests: dict[str, int]
    most_unfinished: int
    slots: int
    mean_delay_seconds: float  # from the provider's completion to our knowing
    median_seconds: float
    answers: "Answers"


@dataclass(slots=True)
class Answers:
    """What a client that asked for one job all the while got from the API."""

    good: int = 0
    failed: int = 0
    slowest_seconds: float = 0.0


@contextlib.contextmanager
def open_stack(*, workers: int = 1, **changes: Any) -> Iterator[Stack]:
    """A whole stack with the simulator, gone afterwards."""
    with Interrupts() as interrupts, tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        settings = default_settings(url="http://127.0.0.1:0", **changes)
        options = StackOptions(folder=Path(folder), workers=workers, flower_port=0, simulator_port=0)
        stack = Stack(settings, options, say=lambda _: None, interrupts=interrupts)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()


def measure_pushing(*, jobs: int) -> Pushing:
    """Accepting jobs over HTTP: one large batch, and single jobs from a few clients, with no worker at work."""
    with open_stack(workers=0) as stack:
        url, database = stack.settings.url, stack.settings.get_database_url()
        body = {"name": "bench", "jobs": [_order(f"prompt number {number}") for number in range(jobs)]}
        began = time.perf_counter()
        _post(f"{url}/v1/batches", body)
        batch = jobs / (time.perf_counter() - began)
        singles = max(200, jobs // 10)
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda number: _post(f"{url}/v1/jobs", _order(f"single {number}")), range(singles)))
        single = singles / (time.perf_counter() - began)
        return Pushing(batch, single, measure_copy_rate(database, rows=jobs), measure_commit_rate(database, seconds=2))


def measure_rendering(
    prompts: Sequence[str], *, slots: int, submits_per_minute: int, median_seconds: float, shortest: float
) -> Rendering:
    """Push the prompts as one batch and wait for all files, while a client asks for one job all the time."""
    with open_stack(
        slots=slots,
        submits_per_minute=submits_per_minute,
        render_median_seconds=median_seconds,
        poll_shortest_seconds=shortest,
    ) as stack:
        database = stack.settings.get_database_url()
        before = measure_usage()
        began = time.perf_counter()
        body = {"name": "bench", "jobs": [_order(prompt) for prompt in prompts]}
        _post(f"{stack.settings.url}/v1/batches", body)
        with _asking(stack.settings.url) as answers:
            _wait_until_ended(stack, database)
        seconds = time.perf_counter() - began
        stats = _ask_simulator(stack)
        return Rendering(
            renders=len(prompts),
            seconds=seconds,
            usage=subtract(measure_usage(), before),
            requests=stats["requests"],
            most_unfinished=stats["most_unfinished"],
            slots=slots,
            mean_delay_seconds=_measure_delay(database, stats),
            median_seconds=median_seconds,
            answers=answers,
        )


@contextlib.contextmanager
def _asking(url: str) -> Iterator[Answers]:
    """Asks for a job ten times a second for the length of the block."""
    answers, over = Answers(), threading.Event()
    job = requests.get(f"{url}/v1/jobs", params={"limit": 1}, timeout=30).json()["items"][0]["id"]

    def ask() -> None:
        while not over.wait(0.1):
            began = time.perf_counter()
            try:
                good = requests.get(f"{url}/v1/jobs/{job}", timeout=30).ok
            except requests.RequestException:
                good = False
            answers.good += good
            answers.failed += not good
            answers.slowest_seconds = max(answers.slowest_seconds, time.perf_counter() - began)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield answers
    finally:
        over.set()
        asker.join()


def _wait_until_ended(stack: Stack, database: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    with psycopg.connect(database, autocommit=True) as connection:
        while True:
            row = connection.execute("SELECT count(*) FILTER (WHERE ended_at IS NULL) FROM job").fetchone()
            if row == (0,):
                break
            if time.monotonic() > deadline:
                raise SystemExit(f"the renders did not end in {PATIENCE_SECONDS:.0f} s: {row} left")
            stack.rest(0.25)
        failed = connection.execute("SELECT count(*) FROM job WHERE state <> 'succeeded'").fetchone()
        if failed != (0,):
            raise SystemExit(f"{failed} jobs did not succeed: the figures would be worthless")


def _measure_delay(database: str, stats: dict[str, Any]) -> float:
    """Mean seconds by which our knowledge lags behind the provider; both clocks are this machine's."""
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "SELECT avg(extract(epoch FROM ended_at))::float8 FROM prediction WHERE state = 'completed'"
        ).fetchone()
    completed = stats["completion_times"]
    if row is None or not completed:
        return float("nan")
    return float(row[0]) - float(sum(completed)) / len(completed)


def _ask_simulator(stack: Stack) -> dict[str, Any]:
    answer = requests.get(f"{stack.settings.wavespeed_url}/sim/stats", params={"last": 100_000}, timeout=30)
    answer.raise_for_status()
    stats: dict[str, Any] = answer.json()
    return stats


def _order(prompt: str) -> dict[str, Any]:
    return {"model": "ltx-2-fast", "input": {"prompt": prompt, "duration": 6}}


def _post(url: str, body: dict[str, Any]) -> None:
    requests.post(url, json=body, timeout=300).raise_for_status()
