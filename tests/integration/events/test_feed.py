"""The event feed: a reader that goes on from its last id misses nothing, whatever the order of the commits."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from models import queries, transitions
from models.db.session import Sessions, one_statement, transaction
from models.queries.events.feed import FeedEvent, FeedFilter
from rushes.events import horizon
from rushes.events.horizon import Horizon
from rushes.runtime import Runtime
from tests.support import rows
from tests.support.simulator_client import wait_until


def add_jobs(runtime: Runtime, count: int) -> list[UUID]:
    with transaction(runtime.sessions) as session:
        return [rows.add_job(session) for _ in range(count)]


def note(session: Session, job_id: UUID, priority: int) -> None:
    """Append one event of a job, as every transition does."""
    assert transitions.jobs.set_priority(session, [job_id], priority=priority, by="mara")


def read(sessions: Sessions, after: int, until: int, limit: int = 1000) -> list[FeedEvent]:
    with one_statement(sessions) as session:
        return queries.feed.list_feed(session, after=after, until=until, limit=limit)


def settle(found: Horizon, last_id: int) -> int:
    """Wait until the feed reaches this id."""
    wait_until(lambda: found.advance() >= last_id, "the feed's end")
    return found.advance()


def open_session(runtime: Runtime) -> Session:
    return Session(runtime.engine, expire_on_commit=False)


def write_in_turns(runtime: Runtime, job_ids: list[UUID], seed: int) -> None:
    """Transactions of one to five events, on jobs that others change as well, some of them rolled back."""
    chance = random.Random(seed)
    for turn in range(40):
        with open_session(runtime) as session:
            for job_id in sorted(chance.sample(job_ids, chance.randint(1, 5))):
                note(session, job_id, priority=1 + seed * 1000 + turn)
                time.sleep(chance.choice([0, 0, 0.002, 0.01]))
            session.rollback() if chance.random() < 0.2 else session.commit()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_reader_sees_every_event_once_and_each_jobs_in_order(runtime: Runtime, seed: int) -> None:
    job_ids, found = add_jobs(runtime, 12), Horizon(runtime.sessions)
    seen: list[FeedEvent] = []
    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(write_in_turns, runtime, job_ids, seed * 10 + number) for number in range(6)]
        while not all(writer.done() for writer in writers):
            seen += read(runtime.sessions, seen[-1].id if seen else 0, found.advance(), limit=7)
        for writer in writers:
            writer.result()
    with one_statement(runtime.sessions) as session:
        last_id = queries.feed.find_last_id(session)
    until = settle(found, last_id)
    while more := read(runtime.sessions, seen[-1].id if seen else 0, until, limit=7):
        seen += more
    with transaction(runtime.sessions) as session:
        stored = [each.id for job_id in job_ids for each in queries.jobs.list_events(session, job_id, limit=100_000)]
    assert [each.id for each in seen] == sorted(stored)
    assert len(stored) > 100


def hold_open(runtime: Runtime, job_id: UUID, release: threading.Event, began: threading.Event) -> None:
    with transaction(runtime.sessions) as session:
        note(session, job_id, priority=5)
        began.set()
        assert release.wait(60)


def while_open(runtime: Runtime, job_id: UUID, check: Callable[[], None]) -> None:
    """Run a check while another transaction has appended an event and has not ended."""
    release, began = threading.Event(), threading.Event()
    with ThreadPoolExecutor() as pool:
        held = pool.submit(hold_open, runtime, job_id, release, began)
        assert began.wait(30)
        try:
            check()
        finally:
            release.set()
        held.result()


def test_the_feed_stops_before_an_open_transaction(runtime: Runtime) -> None:
    slow, quick = add_jobs(runtime, 2)
    found = Horizon(runtime.sessions)

    def check() -> None:
        with transaction(runtime.sessions) as session:
            note(session, quick, priority=6)
        for _ in range(20):
            assert read(runtime.sessions, 0, found.advance()) == []

    while_open(runtime, slow, check)
    with one_statement(runtime.sessions) as session:
        last_id = queries.feed.find_last_id(session)
    assert [each.job_id for each in read(runtime.sessions, 0, settle(found, last_id))] == [slow, quick]


def test_a_long_transaction_raises_a_warning(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(horizon, "HELD_BACK_SECONDS", 0.0)
    (job_id,), found = add_jobs(runtime, 1), Horizon(runtime.sessions)

    def check() -> None:
        assert found.advance() == 0

    with capture_logs() as logs:
        while_open(runtime, job_id, check)
    assert [each["event"] for each in logs] == ["events.held_back"]


def test_the_feed_filters_by_tenant_batch_and_kind(runtime: Runtime) -> None:
    with transaction(runtime.sessions) as session:
        batch_id = rows.insert(session, "batch", name="pilot", job_count=1)
        first, second = rows.add_job(session, batch_id=batch_id, number=1), rows.add_job(session)
        for job_id in (first, second):
            note(session, job_id, priority=3)
        transitions.jobs.pause_jobs(session, [first], by="mara")
    with one_statement(runtime.sessions) as session:
        until = queries.feed.find_last_id(session)
        whole = queries.feed.list_feed(session, after=0, until=until, limit=10)
        ours = queries.feed.list_feed(
            session, after=0, until=until, limit=10, chosen=FeedFilter(batch_id=batch_id, kinds=("job.p*",))
        )
        theirs = queries.feed.list_feed(
            session, after=0, until=until, limit=10, chosen=FeedFilter(tenant_id=UUID(int=7))
        )
    assert [(each.job_id, each.kind) for each in whole[:2]] == [
        (first, "job.reprioritized"),
        (second, "job.reprioritized"),
    ]
    assert [(each.kind, each.batch_id, each.number) for each in ours] == [("job.paused", batch_id, 1)]
    assert theirs == []


def test_a_scan_ends_after_its_most_events(runtime: Runtime) -> None:
    with transaction(runtime.sessions) as session:
        job_id = rows.add_job(session)
        for priority in range(1, 6):
            note(session, job_id, priority=priority)
    with one_statement(runtime.sessions) as session:
        until = queries.feed.find_last_id(session)
        ids = [each.id for each in queries.feed.list_feed(session, after=0, until=until, limit=10)]
        assert queries.feed.find_scan_end(session, after=0, until=until, most=3) == ids[2]
        assert queries.feed.find_scan_end(session, after=ids[2], until=until, most=3) == until
        assert queries.feed.find_scan_end(session, after=until, until=until, most=3) == until
