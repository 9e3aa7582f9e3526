"""What a turn of the dispatcher reads: a step for which nothing is due makes no statement."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import event

from models import ActionKind, JobState, queries
from models.db.session import transaction
from models.queries.dispatching import Survey
from models.queries.job_filter import JobFilter
from rushes.access.callers import act_locally
from rushes.jobs.actions import request_action
from rushes.runtime import ACCOUNT, Runtime
from rushes.settings import Settings
from tests.support import rows
from tests.support.callbacks import add_endpoint, add_events, claim, list_deliveries
from tests.support.runtimes import ask, change, push, wish
from workers.dispatcher.callbacks import CALLBACK_SECONDS
from workers.dispatcher.loop import Dispatcher
from workers.dispatcher.publisher import BrokerAway, Publisher


@pytest.fixture
def runtime(database_url: str, tmp_path: Path) -> Iterator[Runtime]:
    settings = Settings(
        database_url=database_url, data_dir=tmp_path, wavespeed_api_key="wsk_1", slots=2, submits_per_minute=60
    )
    opened = Runtime.open(settings, threads=2, application="test")
    yield opened
    opened.close()


@pytest.fixture
def dispatcher(runtime: Runtime, redis_url: str) -> Dispatcher:
    """A leader that has just made its rounds, and makes none again during a test."""
    leader = Dispatcher(runtime, Celery(broker=redis_url), name="one", queues=["submit"], threads=4)
    leader._turn()
    for each in (leader._rounds, leader._renewal, leader._sign_of_life):
        each.began_at = float("inf")
    return leader


@pytest.fixture
def statements(runtime: Runtime) -> list[str]:
    """The statements run from now on."""
    seen: list[str] = []

    @event.listens_for(runtime.engine, "before_cursor_execute")
    def note(*args: Any) -> None:
        seen.append(args[2])

    return seen


def survey(runtime: Runtime) -> Survey:
    with transaction(runtime.sessions) as session:
        found = queries.dispatching.survey(session, ACCOUNT)
    assert found is not None
    return found


def fill_slots(runtime: Runtime) -> None:
    account_id = survey(runtime).account.id
    with transaction(runtime.sessions) as session:
        for _ in range(2):
            rows.add_render(session, "rendering", account_id=account_id)


def test_a_turn_with_nothing_due_is_one_statement(dispatcher: Dispatcher, statements: list[str]) -> None:
    dispatcher._turn()
    assert len(statements) == 1


def test_a_backlog_without_a_free_slot_takes_no_lock(
    runtime: Runtime, dispatcher: Dispatcher, statements: list[str]
) -> None:
    fill_slots(runtime)
    push(runtime, wish("a"))
    assert survey(runtime).due.jobs
    statements.clear()
    dispatcher._turn()
    assert statements
    assert not any("FOR NO KEY UPDATE" in each for each in statements)


def test_a_free_slot_and_a_job_are_seen(runtime: Runtime, dispatcher: Dispatcher) -> None:
    assert not dispatcher._submit.is_due(survey(runtime))
    push(runtime, wish("a"))
    assert dispatcher._submit.is_due(survey(runtime))
    change(runtime, "account", back_off_until=rows.MINUTE, back_offs=1, back_off_reason="rate", back_off_since=rows.NOW)
    assert not dispatcher._submit.is_due(survey(runtime))


def test_a_report_follows_as_soon_as_something_stops_the_account(runtime: Runtime, dispatcher: Dispatcher) -> None:
    errands, now = dispatcher._errands, time.monotonic() + 5
    errands._reports.begin_if_due(now)
    errands.log_status(now)
    assert not errands._reports.is_due(now)
    change(runtime, "account", provider_failures=2, provider_failing_since=rows.NOW)
    errands.log_status(now + 5)
    assert errands._reports.is_due(now + 5)


def test_work_without_room_is_tried_again_soon(runtime: Runtime, dispatcher: Dispatcher) -> None:
    found = survey(runtime)
    assert dispatcher._find_rest(found, is_left=True) < dispatcher._find_rest(found, is_left=False)


def test_an_action_advances_while_redis_is_away(runtime: Runtime, dispatcher: Dispatcher) -> None:
    push(runtime, wish("a"))
    request_action(
        runtime.sessions, ActionKind.PAUSE, lambda _: JobFilter(states=(JobState.QUEUED,)), caller=act_locally("mara")
    )
    dispatcher._publisher = Publisher(Celery(broker="redis://127.0.0.1:1/0"))
    dispatcher._rounds.began_at = float("-inf")
    with pytest.raises(BrokerAway):
        dispatcher._turn()
    assert ask(runtime, "SELECT state, changed FROM action") == [("done", 1)]


def test_the_end_of_a_batch_is_recorded_while_redis_is_away(runtime: Runtime, dispatcher: Dispatcher) -> None:
    with transaction(runtime.sessions) as session:
        batch = rows.insert(session, "batch", name="pilot", job_count=1)
        rows.add_job(session, "succeeded", batch_id=batch, number=1)
    dispatcher._publisher = Publisher(Celery(broker="redis://127.0.0.1:1/0"))
    dispatcher._rounds.began_at = float("-inf")
    with pytest.raises(BrokerAway):
        dispatcher._turn()
    assert ask(runtime, "SELECT ended_at IS NOT NULL FROM batch") == [(True,)]
    assert ask(runtime, "SELECT kind, batch_id FROM event WHERE kind LIKE 'batch.%'") == [("batch.ended", batch)]
    with transaction(runtime.sessions) as session:
        assert not queries.dispatching.find_chores(session).unended_batches


CHORES: dict[str, tuple[str, dict[str, Any]]] = {
    "overdue_submits": ("submitting", {"posted_at": -rows.MINUTE, "due_at": -rows.SECOND}),
    "crashed_stores": ("completed", {"due_at": -rows.SECOND, "begun_at": -rows.MINUTE}),
    "failed_outputs": ("completed", {"due_at": rows.MINUTE, "output_failed_at": -rows.SECOND}),
    "ended_windows": ("rendering", {"due_at": -rows.SECOND}),
    "searches": ("unconfirmed", {"due_at": -rows.SECOND}),
}


@pytest.mark.parametrize("chore", sorted(CHORES))
@pytest.mark.usefixtures("dispatcher")
def test_each_chore_is_seen_when_it_is_due(runtime: Runtime, chore: str) -> None:
    change(runtime, "account", swept_at=rows.NOW)
    account_id = survey(runtime).account.id

    def see() -> list[str]:
        with transaction(runtime.sessions) as session:
            chores = queries.dispatching.find_chores(session)
        return [name for name in CHORES if getattr(chores, name)]

    assert see() == []
    state, columns = CHORES[chore]
    with transaction(runtime.sessions) as session:
        render = rows.add_render(session, state, account_id=account_id)
        rows.change(session, "prediction", render.prediction_id, **columns)
    assert see() == [chore]


def test_a_turn_creates_and_publishes_the_callbacks_of_new_events(
    runtime: Runtime, dispatcher: Dispatcher, redis_url: str
) -> None:
    add_endpoint(runtime, "https://receiver.example/")
    add_events(runtime, "job.succeeded", "job.failed")
    dispatcher._pools = {"deliver": 4}
    dispatcher._turn()
    with Redis.from_url(redis_url) as server:
        assert server.llen("deliver") == 1  # the second waits for the first: both are about one job
    assert [each.claimed_at is not None for each in list_deliveries(runtime.sessions)] == [True, False]
    assert dispatcher._turn_at - time.monotonic() <= CALLBACK_SECONDS


def test_without_a_worker_for_callbacks_none_is_claimed(runtime: Runtime, dispatcher: Dispatcher) -> None:
    add_endpoint(runtime, "https://receiver.example/")
    add_events(runtime, "job.failed")
    dispatcher._turn()
    assert [each.claimed_at for each in list_deliveries(runtime.sessions)] == [None]


def test_a_callback_whose_message_is_lost_is_claimed_again_at_once(
    runtime: Runtime, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_away(*_: object) -> None:
        raise BrokerAway("Redis is away")

    add_endpoint(runtime, "https://receiver.example/")
    add_events(runtime, "job.failed")
    dispatcher._pools = {"deliver": 4}
    monkeypatch.setattr(Publisher, "publish", be_away)
    with pytest.raises(BrokerAway):
        dispatcher._turn()
    assert len(claim(runtime.sessions)) == 1
