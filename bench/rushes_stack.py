"""Rushes as a contestant, complete: API, dispatcher, workers, Flower, Postgres and Redis in a temporary folder."""

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import requests

from bench.arena import Arena, ContestFailed
from bench.storing import PlainDownloads, measure_storing
from rushes.settings import Settings
from sandbox.servers import free_port
from stack.interrupts import Interrupts
from stack.processes import default_settings
from stack.stack import Stack, StackOptions

WEBHOOK_SETTING = "public_url"
LOST_WEBHOOKS = 0.05
ASKING_SECONDS = 0.5
TENDING_SECONDS = 0.05


class Asker:
    """A client that requests one job from the API twice a second, to measure its answers under load."""

    def __init__(self) -> None:
        self.failed = 0
        self.slowest_seconds = 0.0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, settings: Settings) -> None:
        """Start to request the newest job."""
        url, headers = f"{settings.url}/v1/jobs", find_headers(settings)
        job = requests.get(url, params={"limit": 1}, headers=headers, timeout=30).json()["items"][0]["id"]
        self._thread = threading.Thread(target=self._ask, args=(f"{url}/{job}", headers), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; does nothing if it has not started."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _ask(self, url: str, headers: dict[str, str]) -> None:
        while not self._over.wait(ASKING_SECONDS):
            began = time.perf_counter()
            try:
                good = requests.get(url, headers=headers, timeout=30).ok
            except requests.RequestException:
                good = False
            self.failed += not good
            self.slowest_seconds = max(self.slowest_seconds, time.perf_counter() - began)


class RushesPlayer:
    """A running stack that is ready for jobs."""

    def __init__(self, stack: Stack, arena: Arena, database: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._stack = stack
        self._arena = arena
        self._database = database
        self._asker = Asker()
        self._downloads = PlainDownloads(stack.settings.get_database_url())

    def begin(self) -> None:
        post_batch(self._stack.settings, self._arena.prompts)
        self._asker.start(self._stack.settings)
        if self._arena.load.video_bytes:
            self._downloads.start()

    def end(self) -> None:
        """Stop the clients that run next to the load."""
        self._asker.stop()
        self._downloads.stop()

    def count_stored(self) -> int:
        self._stack.rest(TENDING_SECONDS)
        query = "SELECT count(*) FILTER (WHERE state = 'succeeded'), count(ended_at), min(error_message) FROM job"
        stored, ended, message = self._database.execute(query).fetchall()[0]
        if ended > stored:
            raise ContestFailed(f"{ended - stored} jobs did not succeed: {message}")
        return int(stored)

    def read_known(self) -> dict[str, float]:
        query = "SELECT provider_id, extract(epoch FROM ended_at)::float8 FROM prediction WHERE state = 'completed'"
        return {task: float(moment) for task, moment in self._database.execute(query).fetchall()}

    def read_extra(self) -> dict[str, float]:
        extra = {"API errors": self._asker.failed, "slowest API answer ms": self._asker.slowest_seconds * 1_000}
        if not self._arena.load.video_bytes:
            return extra
        ended = {task: end for task, _, _, end in self._arena.simulator.times() if end is not None}
        return extra | measure_storing(self._database, ended, self._downloads.seconds)


@contextlib.contextmanager
def open_stack(
    *, folder: Path | None = None, workers: int = 1, api_processes: int = 1, **changes: Any
) -> Iterator[Stack]:
    """A complete stack for the block, with its own simulator unless the changes include a key."""
    with contextlib.ExitStack() as exits:
        interrupts = exits.enter_context(Interrupts())
        home = folder or Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="rushes-bench-")))
        settings = default_settings(**{"url": "http://127.0.0.1:0", **changes})
        options = StackOptions(
            folder=home, workers=workers, api_processes=api_processes, flower_port=0, simulator_port=0
        )
        stack = Stack(settings, options, say=lambda _: None, interrupts=interrupts)
        exits.callback(stack.stop)
        stack.start()
        yield stack


@contextlib.contextmanager
def open_rushes(arena: Arena, **changes: Any) -> Iterator[RushesPlayer]:
    """One worker for steps and one for downloads, with default settings except those that the load determines."""
    load = arena.load
    chosen = {
        "wavespeed_api_key": arena.simulator.api_key,
        "wavespeed_url": arena.simulator.url,
        "slots": load.slots,
        "submits_per_minute": load.submits_per_minute,
        "render_median_seconds": load.median,
        **load.settings,
        **changes,
        **arena.settings,
    }
    with (
        open_stack(folder=arena.folder, **chosen) as stack,
        psycopg.connect(stack.settings.get_database_url(), autocommit=True) as database,
    ):
        player = RushesPlayer(stack, arena, database)
        try:
            yield player
        finally:
            player.end()


@contextlib.contextmanager
def open_rushes_with_webhooks(arena: Arena) -> Iterator[RushesPlayer]:
    """The same with an address for the provider's webhooks, some of which are lost."""
    arena.simulator.set_fault("webhook_lost", probability=LOST_WEBHOOKS)
    url = f"http://127.0.0.1:{free_port()}"
    with open_rushes(arena, url=url, **{WEBHOOK_SETTING: url}) as player:
        yield player


def has_webhooks() -> bool:
    """Whether Rushes accepts the provider's webhooks."""
    return WEBHOOK_SETTING in Settings.model_fields


def post_batch(settings: Settings, prompts: Sequence[str]) -> None:
    """Push one batch of the cheapest jobs."""
    body = {"name": "bench", "jobs": [order(prompt) for prompt in prompts]}
    answer = requests.post(f"{settings.url}/v1/batches", json=body, headers=find_headers(settings), timeout=300)
    answer.raise_for_status()


def find_headers(settings: Settings) -> dict[str, str]:
    """The header with the stack's key."""
    return {"Authorization": f"Bearer {settings.find_api_key()}"}


def order(prompt: str) -> dict[str, Any]:
    """A job in the form that the API accepts."""
    return {"model": "ltx-2-fast", "input": {"prompt": prompt, "duration": 6}}
