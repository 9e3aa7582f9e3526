"""Who leads: a leader that alone is cut off from Redis, or whose turns fail, makes room for another."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from rushes.runtime import Runtime
from rushes.settings import Settings
from tests.support.runtimes import ask
from workers.dispatcher import loop
from workers.dispatcher.leadership import ASIDE_SECONDS, FAILING_SECONDS
from workers.dispatcher.loop import PRUNE_SECONDS, Dispatcher
from workers.dispatcher.publisher import Message

NOBODY_LISTENS = "redis://127.0.0.1:1/0"
LONG = FAILING_SECONDS + 1
SHORT = FAILING_SECONDS - 1


class Clock:
    """The dispatchers' monotonic clock, which a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


@pytest.fixture
def runtime(database_url: str, tmp_path: Path) -> Iterator[Runtime]:
    settings = Settings(database_url=database_url, data_dir=tmp_path, wavespeed_api_key="wsk_1")
    opened = Runtime.open(settings, threads=2, application="test")
    yield opened
    opened.close()


def make(runtime: Runtime, name: str, *, redis_url: str = NOBODY_LISTENS) -> Dispatcher:
    app = Celery(broker=redis_url)
    app.conf.broker_transport_options = {"max_retries": 0}  # kombu would try for six seconds, by the real clock
    return Dispatcher(runtime, app, name=name, queues=["submit"], threads=1)


def find_leader(runtime: Runtime) -> str | None:
    """Who holds a lease that has not ended."""
    held = ask(runtime, "SELECT holder FROM leader WHERE lease_until > now()")
    return held[0][0] if held else None


def fail_for(leader: Dispatcher, clock: Clock, seconds: float) -> None:
    leader._turn_safely()
    clock.now += seconds
    leader._turn_safely()


def test_a_leader_that_alone_is_cut_off_from_redis_makes_room_for_another(
    runtime: Runtime, clock: Clock, redis_url: str
) -> None:
    cut_off, healthy = make(runtime, "cut-off"), make(runtime, "healthy", redis_url=redis_url)
    fail_for(cut_off, clock, SHORT)
    healthy._turn_safely()
    assert find_leader(runtime) == "cut-off"  # an interruption of seconds moves no lead
    clock.now += LONG
    cut_off._turn_safely()
    assert find_leader(runtime) is None
    healthy._turn_safely()
    cut_off._turn_safely()
    assert find_leader(runtime) == "healthy"
    clock.now += ASIDE_SECONDS
    cut_off._turn_safely()
    assert find_leader(runtime) == "healthy"


def test_a_lone_worker_leads_again_after_a_few_seconds(runtime: Runtime, clock: Clock) -> None:
    alone = make(runtime, "alone")
    fail_for(alone, clock, LONG)
    clock.now += ASIDE_SECONDS - 1
    alone._turn_safely()
    assert find_leader(runtime) is None
    clock.now += 1
    alone._turn_safely()
    assert find_leader(runtime) == "alone"


def test_a_leader_whose_turns_fail_by_a_fault_of_ours_makes_room_too(
    runtime: Runtime, clock: Clock, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = make(runtime, "faulty", redis_url=redis_url)

    def fail(*_: Any) -> float:
        raise ZeroDivisionError

    monkeypatch.setattr(leader, "_find_rest", fail)
    fail_for(leader, clock, LONG)
    assert find_leader(runtime) is None


def test_one_good_turn_begins_the_count_anew(
    runtime: Runtime, clock: Clock, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = make(runtime, "recovering", redis_url=redis_url)
    cut_off = make(runtime, "cut-off")._publisher
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(leader, "_publisher", cut_off)
            fail_for(leader, clock, SHORT)
        leader._turn_safely()
        clock.now += SHORT
    assert find_leader(runtime) == "recovering"


def test_the_leader_asks_a_store_worker_to_prune_now_and_then(
    runtime: Runtime, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[Message] = []
    leader = make(runtime, "leader")
    monkeypatch.setattr(leader._publisher, "publish", published.extend)
    leader._prune(clock.now, 0)  # no room: asked later
    for seconds in (0.0, PRUNE_SECONDS - 1, PRUNE_SECONDS):
        leader._prune(clock.now + seconds, 1)
    assert [(each.task, each.queue) for each in published] == [("queue.prune", "store")] * 2
