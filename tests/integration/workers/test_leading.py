"""Who leads: a leader that alone is cut off from Redis, or whose turns fail, makes room for another."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from models import Worker, queries
from models.db.session import transaction
from rushes.runtime import ACCOUNT, Runtime
from rushes.settings import Settings
from tests.support import rows
from tests.support.rows import MINUTE, SECOND
from tests.support.runtimes import ask
from workers.dispatcher import loop
from workers.dispatcher.errands import PRUNE_SECONDS
from workers.dispatcher.leadership import ASIDE_SECONDS, FAILING_SECONDS
from workers.dispatcher.loop import Dispatcher
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


def test_turns_that_fail_are_reported_until_a_leader_makes_a_good_one(
    runtime: Runtime, clock: Clock, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = make(runtime, "faulty", redis_url=redis_url)
    with monkeypatch.context() as patch:
        patch.setattr(leader._watch_scheduler, "is_due", lambda _: 1 / 0)
        fail_for(leader, clock, LONG)
        leader._turn_safely()  # it only stands aside, so its turns may still fail
        with transaction(runtime.sessions) as session:
            health = queries.health.find_health(session)
    assert health.turn_error == "ZeroDivisionError: division by zero"
    assert health.turns_failing_seconds is not None
    clock.now += ASIDE_SECONDS
    leader._turn_safely()
    with transaction(runtime.sessions) as session:
        health = queries.health.find_health(session)
    assert (health.turn_error, health.turns_failing_seconds) == (None, None)


def test_failed_turns_of_a_worker_do_not_count_while_another_leads(
    runtime: Runtime, clock: Clock, redis_url: str
) -> None:
    fail_for(make(runtime, "cut-off"), clock, LONG)
    make(runtime, "healthy", redis_url=redis_url)._turn_safely()
    with transaction(runtime.sessions) as session:
        rows.change(session, "worker", Worker.name == "cut-off", turns_failing_since=-MINUTE)
        health = queries.health.find_health(session)
        capacity = queries.forecasting.find_capacity(session, ACCOUNT, rate_window=MINUTE)
    assert (health.leader, health.turn_error) == ("healthy", None)
    assert capacity is not None
    assert capacity.led


def test_overdue_submissions_are_unconfirmed_even_while_redis_is_away(runtime: Runtime, clock: Clock) -> None:
    with transaction(runtime.sessions) as session:
        rows.add_render(session, "submitting", posted_at=-MINUTE, due_at=-SECOND)
    make(runtime, "cut-off")._turn_safely()
    assert ask(runtime, "SELECT state FROM prediction") == [("unconfirmed",)]


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
    leader._errands.prune(clock.now, 0, term=1)  # no room: asked later
    for seconds in (0.0, PRUNE_SECONDS - 1, PRUNE_SECONDS):
        leader._errands.prune(clock.now + seconds, 1, term=1)
    assert [(each.task, each.queue) for each in published] == [("queue.prune", "store")] * 2
