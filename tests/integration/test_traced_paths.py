"""How many product modules run while a job goes from its route to its stored file, and while a lost answer is found.

A reader who follows one job opens these files. The lists are printed, and their lengths are limited. Traced are the
route, the dispatcher's steps and the tasks of that job, for a lost answer from the submission's task on; not what the
dispatcher does in every turn.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from celery import Celery

from rushes.runtime import Runtime
from rushes.storing.store_check import StoreCheck, check_store
from sandbox.wavespeed.handle import Simulator
from tests.support.api_server import Api, serve_api
from tests.support.runtimes import ask
from tests.support.simulator_client import wait_until
from workers import tasks
from workers.dispatcher import loop
from workers.dispatcher.claims import StoreDispatch, SubmitDispatch
from workers.dispatcher.errands import Errands
from workers.dispatcher.publisher import Message, Publisher
from workers.dispatcher.watch_schedule import WatchScheduler

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("api", "models", "rushes", "workers")
MOST_FOR_A_JOB = 62
MOST_FOR_A_LOST_ANSWER = 31
"""What it takes today. The aim is 35 and 20."""


class Trace:
    """The product's modules of which a function was called, in the order of their first call."""

    def __init__(self) -> None:
        self.modules: dict[str, None] = {}
        self._depth = 0

    def note(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call" or not self._depth or frame.f_code.co_name == "<module>":
            return
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PRODUCT:
            self.modules.setdefault(str(path.relative_to(ROOT)))

    def follow(self, function: Callable[..., Any], *args: Any, **values: Any) -> Any:
        self._depth += 1
        try:
            return function(*args, **values)
        finally:
            self._depth -= 1


@pytest.fixture
def trace() -> Iterator[Trace]:
    started = Trace()
    threading.setprofile(started.note)
    sys.setprofile(started.note)
    yield started
    sys.setprofile(None)
    threading.setprofile(None)
    print(*started.modules, sep="\n")


class Deliveries(Publisher):
    """In the place of Redis: what the dispatcher publishes is run at once, by the worker's functions."""

    def __init__(self, trace: Trace, followed: Sequence[str], app: Celery) -> None:
        self._trace = trace
        self._followed = followed

    def measure_room(self, threads: object) -> dict[str, int]:
        return dict.fromkeys(("submit", "watch", "store", "reconcile"), 5)

    def publish(self, messages: list[Message]) -> None:
        for message in messages:
            task = next(each for each in vars(tasks).values() if getattr(each, "name", "") == message.task)
            try:
                if message.task in self._followed:
                    self._trace.follow(task.run, *message.args)
                else:
                    task.run(*message.args)
            except Exception as error:  # noqa: BLE001 - as a worker, which goes on
                print(message.task, error)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(median=1, sigma=0.01) as started:
        yield started


@pytest.fixture
def runtime_settings() -> dict[str, Any]:
    return {"poll_shortest_seconds": 0.1, "render_median_seconds": 1}


@pytest.fixture
def api(runtime: Runtime, trace: Trace) -> Iterator[Api]:  # after the trace, so that its threads are traced
    with serve_api(runtime.settings.get_database_url(), runtime.settings.data_dir) as served:
        yield served


@pytest.fixture
def open_dispatcher(
    runtime: Runtime, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Sequence[str], Sequence[tuple[type, str]]], Callable[[], float]]:
    """A leading dispatcher, of whose tasks and steps some are followed; returns its turn."""

    def open_(followed: Sequence[str], steps: Sequence[tuple[type, str]]) -> Callable[[], float]:
        monkeypatch.setattr(tasks, "get_runtime", lambda: runtime)
        monkeypatch.setattr(loop, "Publisher", partial(Deliveries, trace, followed))
        monkeypatch.setattr(StoreCheck, "get_state", lambda _: check_store(runtime))  # its thread would be traced
        dispatcher = loop.Dispatcher(runtime, Celery(), name="one", queues=["submit", "store"], threads=4)
        dispatcher._turn()
        for owner, name in steps:
            step = getattr(owner, name)
            monkeypatch.setattr(owner, name, lambda *args, _step=step, **values: trace.follow(_step, *args, **values))
        return dispatcher._turn

    return open_


def state_of(runtime: Runtime, table: str) -> str:
    rows = ask(runtime, f"SELECT state FROM {table}")  # noqa: S608 - a constant
    return str(rows[0][0]) if rows else ""


def test_a_job_passes_through_few_modules(runtime: Runtime, trace: Trace, api: Api, open_dispatcher: Any) -> None:
    followed = ("render.submit", "watch.poll", "render.store")  # a sweep may check it, too, depending on the time
    steps = ((SubmitDispatch, "submit"), (StoreDispatch, "store"), (WatchScheduler, "choose_checks"))
    turn = open_dispatcher(followed, steps)
    trace.follow(api.push, model="ltx-2-fast")
    wait_until(lambda: turn() is not None and state_of(runtime, "job") == "succeeded", "the stored file")
    assert len(trace.modules) <= MOST_FOR_A_JOB


def test_a_lost_answer_passes_through_few_modules(
    runtime: Runtime, simulator: Simulator, trace: Trace, api: Api, open_dispatcher: Any
) -> None:
    simulator.set_fault("submit_504")
    turn = open_dispatcher(("render.submit", "render.reconcile"), ((Errands, "reconcile"),))
    api.push(model="ltx-2-fast")
    wait_until(lambda: turn() is not None and state_of(runtime, "prediction") == "rendering", "the adoption")
    assert len(trace.modules) <= MOST_FOR_A_LOST_ANSWER
