"""The other contestants as processes: start them, signal them to begin, read results from their folders."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from celery import Celery

from bench.arena import Arena, ContestFailed
from bench.peers import plain_celery
from bench.peers.script import READY
from bench.peers.sightings import read_sightings
from sandbox.servers import EmbeddedRedis

READY_SECONDS = 60.0
STOP_SECONDS = 20.0


class Peer:
    """A process that writes videos and sightings to its folder."""

    def __init__(self, process: subprocess.Popen[str], arena: Arena, *, log: Path, begin: Callable[[], None]) -> None:
        self.process = process
        self.begin = begin
        self._folder = arena.folder
        self._log = log

    def count_stored(self) -> int:
        stored = sum(entry.name.endswith(".mp4") for entry in os.scandir(self._folder))
        if self.process.poll():
            raise ContestFailed(
                f"a contestant ended with status {self.process.returncode}: {self._log.read_text()[-500:]}"
            )
        return stored

    def read_extra(self) -> dict[str, float]:
        return {}

    def read_known(self) -> dict[str, float]:
        return {each.prediction: each.seen_at for each in read_sightings(self._folder) if each.status == "completed"}


@contextlib.contextmanager
def open_script(arena: Arena, *, module: str) -> Iterator[Peer]:
    """A script with a thread pool: one thread per slot."""
    prompts = arena.folder / "prompts.txt"
    prompts.write_text("".join(f"{prompt}\n" for prompt in arena.prompts))
    words = ["--url", arena.simulator.url, "--key", arena.simulator.api_key, "--folder", str(arena.folder)]
    words += ["--prompts", str(prompts), "--concurrency", str(arena.load.slots)]
    with _started([f"bench.peers.{module}", *words], arena, stdin=subprocess.PIPE) as (process, log):
        _wait(lambda: READY in log.read_text(), what=f"{module} is ready")
        yield Peer(process, arena, log=log, begin=lambda: _say_go(process))


@contextlib.contextmanager
def open_plain_celery(arena: Arena) -> Iterator[Peer]:
    """A Celery worker with one thread per slot, and its own Redis."""
    with EmbeddedRedis(arena.folder / "redis") as server:
        broker = server.start()
        options = plain_celery.Options(
            url=arena.simulator.url,
            key=arena.simulator.api_key,
            broker=broker,
            folder=str(arena.folder),
            concurrency=arena.load.slots,
            poll_seconds=arena.load.celery_poll,
        )
        jobs = {f"{number}": prompt for number, prompt in enumerate(arena.prompts)}
        with _started(["bench.peers.plain_celery"], arena, environment=options.to_environment()) as (process, log):
            _wait(lambda: _has_worker(broker), what="the plain Celery worker is ready")
            yield Peer(process, arena, log=log, begin=lambda: plain_celery.push_jobs(broker, jobs))


@contextlib.contextmanager
def _started(
    words: Sequence[str], arena: Arena, *, environment: Mapping[str, str] | None = None, stdin: int = subprocess.DEVNULL
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    path = arena.folder / "log.txt"
    with path.open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", *words],
            env={**os.environ, **(environment or {}), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield process, path
    finally:
        process.kill()
        process.wait(STOP_SECONDS)
        if process.stdin is not None:
            process.stdin.close()


def _say_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None  # noqa: S101 - it was started so
    process.stdin.write("\n")
    process.stdin.flush()


def _has_worker(broker: str) -> bool:
    with Celery("asker", broker=broker) as app:
        return bool(app.control.ping(timeout=0.5))


def _wait(condition: Callable[[], bool], *, what: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ContestFailed(f"timed out after {READY_SECONDS:g} s, waiting until {what}")
        time.sleep(0.1)
