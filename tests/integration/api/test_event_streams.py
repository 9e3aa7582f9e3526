"""`GET /v1/events/stream`: nothing missed and nothing twice, whatever breaks in between."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from api.feed import following, routes
from models import Scope, queries, transitions
from models.db.errors import DatabaseAway
from models.db.session import one_statement, transaction
from rushes.events import hub
from rushes.events.hub import Hub
from rushes.events.reading import FeedPage
from sandbox.servers import EmbeddedPostgres
from tests.support import rows
from tests.support.access import add_key, add_tenant, bearing
from tests.support.api_server import Api, new_job, serve_api
from tests.support.event_stream import EventStream
from tests.support.simulator_client import wait_until

SLACK_SECONDS = 30
"""What a busy machine may add."""


@pytest.fixture(autouse=True)
def _quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "BEAT_SECONDS", 0.2)


def hub_of(api: Api) -> Hub:
    found: Hub = api.app.state.hub
    return found


def last_id(api: Api) -> int:
    with one_statement(api.sessions) as session:
        return queries.feed.find_last_id(session)


def note(api: Api, job_ids: list[UUID], priority: int) -> None:
    """One event for each job, in one transaction."""
    with transaction(api.sessions) as session:
        assert transitions.jobs.set_priority(session, job_ids, priority=priority, by="mara")


def add_jobs(api: Api, count: int) -> list[UUID]:
    with transaction(api.sessions) as session:
        return [rows.add_job(session) for _ in range(count)]


def test_a_stream_begins_at_once_and_sends_items_as_they_happen(api: Api) -> None:
    with EventStream(api.client.base_url, "after=latest") as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == ("no-cache", "no")
        first = stream.read()
        assert first is not None
        assert (first.comment, first.data) == ("connected", None)
        job_id = api.push()["id"]
        (item,) = stream.read_items(1)
        assert (item["job_id"], item["kind"], stream.last_id) == (job_id, "job.pushed", item["id"])
        (listed,) = api.client.get("/v1/events", params={"after": item["id"] - 1}).json()["items"]
        assert item == listed


def test_the_first_event_of_all_comes_by_the_queue(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> FeedPage:
        raise AssertionError("thousands of listeners would each read the database")

    monkeypatch.setattr(hub, "read_feed", read)
    with EventStream(api.client.base_url, "after=latest") as stream:
        wait_until(lambda: stream.read().comment == "beat", "the hub at work")  # type: ignore[union-attr]
        job_id = api.push()["id"]
        assert stream.read_items(1)[0]["job_id"] == job_id


def test_a_quiet_stream_beats_and_moves_its_id(api: Api) -> None:
    with EventStream(api.client.base_url, "after=0&kinds=job.failed") as stream:
        for _ in range(3):
            api.push()
        wait_until(lambda: stream.read().comment == "beat" and stream.last_id >= last_id(api), "a later beat")  # type: ignore[union-attr]
        assert stream.last_id == last_id(api)


def test_the_last_event_id_wins_over_after(api: Api) -> None:
    ids = [api.push()["id"] for _ in range(3)]
    first = api.client.get("/v1/events").json()["items"][0]["id"]
    with EventStream(api.client.base_url, "after=latest", last_id=first) as stream:
        assert [each["job_id"] for each in stream.read_items(2)] == ids[1:]


def test_streams_follow_a_batch_a_tenant_or_everything(api: Api) -> None:
    with transaction(api.sessions) as session:
        films = add_tenant(session, "Films")
        theirs, observer = add_key(session, Scope.PUSH, Scope.READ, tenant_id=films), add_key(session, Scope.OBSERVE)
        own = add_key(session, Scope.READ)
    api.push_batch("pilot", [new_job(), new_job()])
    url = api.client.base_url
    with (
        EventStream(url, "batch=pilot", key=own) as batch,
        EventStream(url, "after=latest", key=own) as tenant,
        EventStream(url, "after=latest", key=observer) as everything,
        EventStream(url, "after=latest", key=theirs) as other,
    ):
        assert [each["number"] for each in batch.read_items(3)] == [None, 1, 2]
        wait_until(lambda: len(hub_of(api)._listeners) == 4, "all four")
        single = api.push()["id"]
        api.client.post("/v1/jobs", json=new_job(), headers=bearing(theirs)).raise_for_status()
        with transaction(api.sessions) as session:
            rows.add_event(session, "batch.at_risk", batch_id=queries.jobs.list_batches(session, limit=1)[0].id)
        assert [each["kind"] for each in batch.read_items(1)] == ["batch.at_risk"]
        assert [each["job_id"] for each in tenant.read_items(2)] == [single, None]
        assert [each["tenant"] for each in everything.read_items(3)] == ["default", "Films", "default"]
        assert [each["tenant"] for each in other.read_items(1)] == ["Films"]


class Reader:
    """Reads a stream until it has reached an id, and leaves it again and again on the way."""

    def __init__(self, api: Api, query: str, seed: int) -> None:
        self.url, self.query, self.chance = api.client.base_url, query, random.Random(seed)
        self.ids: list[int] = []
        self.last_id: int | None = 0
        self.breaks = -1
        self.final: int | None = None

    def run(self) -> None:
        while self.final is None or (self.last_id or 0) < self.final:
            self.breaks += 1
            with EventStream(self.url, self.query, last_id=self.last_id) as stream:
                for _ in range(self.chance.randint(1, 40)):
                    block = stream.read()
                    assert block is not None
                    self.last_id = block.last_id
                    self.ids += [block.data["id"]] if block.data else []
                    if self.final is not None and block.last_id >= self.final:
                        return


def write_in_turns(api: Api, job_ids: list[UUID], seed: int) -> None:
    """Transactions of one to five events with pauses in them, some of them rolled back."""
    chance = random.Random(seed)
    for turn in range(30):
        with api.sessions() as session:  # type: ignore[operator]
            for job_id in sorted(chance.sample(job_ids, chance.randint(1, 5))):
                transitions.jobs.set_priority(session, [job_id], priority=1 + seed * 100 + turn, by="mara")
                time.sleep(chance.choice([0, 0, 0.002, 0.02]))
            session.rollback() if chance.random() < 0.2 else session.commit()


@pytest.mark.parametrize("seed", [1, 2])
def test_readers_that_come_back_miss_nothing_and_get_nothing_twice(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(hub, "QUEUED_EVENTS", 8)  # so that some get events from the database in between
    monkeypatch.setattr(hub, "TURN_EVENTS", 20)
    monkeypatch.setattr(hub, "CAUGHT_UP_EVENTS", 5)
    with serve_api(database_url, tmp_path, database_connections=10) as api:
        with transaction(api.sessions) as session:
            batch_id = rows.insert(session, "batch", name="pilot", job_count=6)
            rows.add_event(session, "batch.pushed", batch_id=batch_id)
            in_batch = [rows.add_job(session, batch_id=batch_id, number=number) for number in range(1, 7)]
        job_ids = in_batch + add_jobs(api, 6)
        queries_of = ["", "", "batch=pilot", "batch=pilot&kinds=job.r*", "kinds=job.reprioritized", "kinds=job.failed"]
        readers = [Reader(api, query, seed * 100 + number) for number, query in enumerate(queries_of)]
        with ThreadPoolExecutor(12) as pool:
            reading = [pool.submit(reader.run) for reader in readers]
            for writer in [pool.submit(write_in_turns, api, job_ids, seed * 10 + number) for number in range(4)]:
                writer.result()
            final = last_id(api)
            for reader in readers:
                reader.final = final
            for each in reading:
                each.result()
        with one_statement(api.sessions) as session:
            stored = rows.list_events(session)
    pushed, *of_jobs = (event["id"] for event in stored)
    everything = [pushed, *of_jobs]
    of_batch = [event["id"] for event in stored if event["job_id"] in in_batch]
    expected = [everything, everything, [pushed, *of_batch], of_batch, of_jobs, []]
    assert [reader.ids for reader in readers] == expected
    assert len(of_batch) > 50
    assert sum(reader.breaks for reader in readers) > 20


def test_a_slow_listener_reads_what_its_queue_could_not_hold(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "QUEUED_EVENTS", 3)
    job_ids = add_jobs(api, 200)
    with EventStream(api.client.base_url, "after=latest") as slow:
        wait_until(lambda: len(hub_of(api)._listeners) == 1, "the listener")
        for priority in range(10):
            note(api, job_ids, priority=priority + 2)
            (listener,) = hub_of(api)._listeners
            assert len(listener._queue) <= 3
        wait_until(lambda: hub_of(api).position >= last_id(api), "the hub")
        ids = [each["id"] for each in slow.read_items(2000)]
    assert ids == sorted(set(ids))


def test_a_stream_outlives_an_outage_of_the_database(api: Api, postgres: EmbeddedPostgres) -> None:
    with capture_logs() as logs, EventStream(api.client.base_url, "after=latest") as stream:
        wait_until(lambda: hub_of(api)._listeners, "the listener")
        before = api.push()["id"]
        assert stream.read_items(1)[0]["job_id"] == before
        postgres.stop()
        wait_until(lambda: "events.database_away" in str(logs), "the hub's notice")
        beats = [stream.read() for _ in range(5)]
        assert [each.comment for each in beats if each] == ["beat"] * 5
        postgres.start()
        wait_until(lambda: api.client.post("/v1/jobs", json=new_job()).status_code == 201, "a push")
        assert stream.read_items(1)[0]["kind"] == "job.pushed"
    assert [each["event"] for each in logs].count("events.database_away") == 1


def test_a_read_that_fails_is_tried_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "AWAY_SECONDS", 0.01)
    failures, read_feed = [DatabaseAway("away"), OperationalError("x", {}, Exception())], hub.read_feed

    def read(*given: Any, **named: Any) -> FeedPage:
        if failures:
            raise failures.pop()
        return read_feed(*given, **named)

    monkeypatch.setattr(hub, "read_feed", read)
    job_id = api.push()["id"]
    with EventStream(api.client.base_url, "after=0") as stream:
        assert [each["job_id"] for each in stream.read_items(1)] == [job_id]
    assert failures == []


def test_a_bug_in_a_turn_does_not_stop_the_hub(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "AWAY_SECONDS", 0.01)
    with capture_logs() as logs, EventStream(api.client.base_url, "after=latest") as stream:
        wait_until(lambda: hub_of(api)._listeners, "the listener")
        with monkeypatch.context() as patch:
            patch.setattr(hub_of(api).horizon, "advance", lambda: 1 // 0)
            wait_until(lambda: "events.turn_failed" in str(logs), "the bug")
        job_id = api.push()["id"]
        assert stream.read_items(1)[0]["job_id"] == job_id


def test_a_transaction_in_progress_hides_the_end_from_a_new_process(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_SETTLE_TRIES", 3)
    (job_id,) = add_jobs(api, 1)
    with transaction(api.sessions) as session:
        assert transitions.jobs.set_priority(session, [job_id], priority=5, by="mara")
        refused = api.client.get("/v1/events", params={"after": "latest"})
        assert (refused.status_code, "holds back the event feed" in refused.text) == (503, True)
        waiting = api.client.get("/v1/events", params={"after": 0}).json()
        assert (waiting["items"], waiting["cursor"], waiting["more"]) == ([], 0, False)
        with EventStream(api.client.base_url, "after=0") as stream:
            assert [stream.read().comment for _ in range(2)] == ["connected", "beat"]  # type: ignore[union-attr]
            session.commit()
            assert [each["job_id"] for each in stream.read_items(1)] == [str(job_id)]


def test_a_revoked_key_or_a_disabled_tenant_ends_its_streams(api: Api) -> None:
    with transaction(api.sessions) as session:
        films = add_tenant(session, "Films")
        key, theirs = add_key(session, Scope.READ), add_key(session, Scope.READ, tenant_id=films)
    url = api.client.base_url
    with (
        EventStream(url, "after=latest", key=key) as revoked,
        EventStream(url, "after=latest", key=theirs) as disabled,
        EventStream(url, "after=latest") as stays,
    ):
        key_id = api.client.get("/v1/me", headers=bearing(key)).json()["key_id"]
        api.client.post(f"/v1/keys/{key_id}/revoke").raise_for_status()
        assert revoked.read_to_end() < 5 + SLACK_SECONDS
        api.client.post("/v1/tenants/Films/disable").raise_for_status()
        assert disabled.read_to_end() < 5 + SLACK_SECONDS
        job_id = api.push()["id"]
        assert stays.read_items(1)[0]["job_id"] == job_id
    wait_until(lambda: EventStream(url, key=key).status == 401, "the refusal")


def test_listeners_beyond_the_limit_are_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MOST_LISTENERS", 2)
    url = api.client.base_url
    with EventStream(url, "after=latest"), EventStream(url, "after=latest"):
        wait_until(lambda: len(hub_of(api)._listeners) == 2, "two listeners")
        for path in ("/v1/events/stream", "/v1/events?wait=30"):
            refused = api.client.get(path)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert api.client.get("/v1/events").status_code == 200
        assert api.push()
    wait_until(lambda: not hub_of(api)._listeners, "their ends")
    assert not hub_of(api)._topics
    with EventStream(url, "after=latest") as stream:
        assert stream.status == 200


def test_nobody_reads_while_nobody_listens(api: Api) -> None:
    api.push()
    idle = hub_of(api)
    assert idle.position == 0
    with EventStream(api.client.base_url, "after=0") as stream:
        assert len(stream.read_items(1)) == 1
    wait_until(lambda: not idle._listeners, "its end")
    position = idle.position
    job_id = api.push()["id"]
    with EventStream(api.client.base_url, last_id=position) as stream:
        assert stream.read_items(1)[0]["job_id"] == job_id


def test_a_database_that_was_put_back_ends_the_streams(api: Api) -> None:
    for _ in range(3):
        api.push()
    with EventStream(api.client.base_url, "after=latest") as stream:
        wait_until(lambda: hub_of(api).position == last_id(api), "the hub")
        with transaction(api.sessions) as session:
            rows.put_history_back(session, 2)
        assert stream.read_to_end() < SLACK_SECONDS
        refused = api.client.get("/v1/events", params={"after": stream.last_id})
        assert refused.status_code == 422
        assert "put back to an earlier state" in refused.text
