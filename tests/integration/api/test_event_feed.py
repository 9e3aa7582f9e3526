"""`GET /v1/events`: filters, tenants, cursors, and long polling."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import httpx
import pytest

from api import middleware
from api.feed import following, routes
from models import Scope, queries, transitions
from models.db.session import one_statement, transaction
from models.queries.events import feed
from rushes.errors import Unavailable
from rushes.events import hub, reading
from rushes.events.hub import Hub
from rushes.events.reading import FeedPage
from tests.support import rows
from tests.support.access import add_key, add_tenant, bearing
from tests.support.api_server import Api, Json, fields_of, new_job
from tests.support.simulator_client import wait_until


def read(api: Api, key: str | None = None, **query: object) -> Json:
    headers = bearing(key) if key else None
    answer = api.client.get("/v1/events", params=query, headers=headers)  # type: ignore[arg-type]
    return answer.raise_for_status().json()


def read_all(api: Api, key: str | None = None, **query: object) -> list[Json]:
    """Follow the cursors to the end of the feed."""
    items: list[Json] = []
    while True:
        page = read(api, key, **query)
        items += page["items"]
        query["after"] = page["cursor"]
        if not page["more"]:
            return items


def last_id(api: Api) -> int:
    with one_statement(api.sessions) as session:
        return queries.feed.find_last_id(session)


def settle(api: Api) -> None:
    """Wait until the feed has reached the last event."""
    wait_until(lambda: api.app.state.hub.horizon.advance() >= last_id(api), "the end of the feed")


def test_an_item_says_what_happened_to_which_job(api: Api) -> None:
    batch = api.push_batch("pilot", [new_job(client_ref="A-1", metadata={"scene": 3}), new_job()])
    first, second = read(api, kinds="job.*")["items"]
    job_id = first["job_id"]
    assert first == {
        "id": first["id"],
        "at": first["at"],
        "kind": "job.pushed",
        "tenant": "default",
        "job_id": job_id,
        "job_url": str(api.client.base_url.join(f"/v1/jobs/{job_id}")),
        "batch": "pilot",
        "number": 1,
        "client_ref": "A-1",
        "metadata": {"scene": 3},
        "prediction_id": None,
        "detail": {},
    }
    assert api.client.get(first["job_url"]).json()["batch"] == batch["name"]
    assert (second["number"], second["client_ref"], second["metadata"]) == (2, None, None)


def test_a_cursor_goes_on_where_the_last_page_ended(api: Api) -> None:
    for _ in range(5):
        api.push()
    settle(api)
    page = read(api, limit=2)
    assert (len(page["items"]), page["cursor"], page["more"]) == (2, page["items"][-1]["id"], True)
    rest = read(api, limit=100, after=page["cursor"])
    assert [each["id"] for each in (*page["items"], *rest["items"])] == [each["id"] for each in read(api)["items"]]
    assert (len(rest["items"]), rest["more"]) == (3, False)
    end = read(api, after=rest["cursor"])
    assert (end["items"], end["cursor"], end["more"]) == ([], rest["cursor"], False)


def test_kinds_are_names_or_beginnings(api: Api) -> None:
    with transaction(api.sessions) as session:
        job_id, batch_id = rows.add_job(session), rows.insert(session, "batch", name="pilot", job_count=1)
        kinds = ("job.cancel_requested", "job.cancelXrequested", "prediction.lost", "job.failed")
        for kind in kinds:
            rows.add_event(session, kind, job_id=job_id)
        rows.add_event(session, "batch.at_risk", batch_id=batch_id)
        rows.add_event(session, "account.paused")
    settle(api)

    def kinds_of(words: str) -> list[str]:
        return [each["kind"] for each in read_all(api, after=0, kinds=words)]

    assert kinds_of("job.cancel_*") == ["job.cancel_requested"]
    assert kinds_of("job.cancel_requested,batch.*") == ["job.cancel_requested", "batch.at_risk"]
    assert kinds_of("prediction.*") == ["prediction.lost"]
    assert [each["kind"] for each in read_all(api, after=0, kinds="")] == [*kinds, "batch.at_risk"]
    assert kinds_of("job") == []


def test_a_cursor_moves_over_events_that_do_not_match(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SCANNED_EVENTS", 3)
    for _ in range(8):
        api.push()
    settle(api)
    cursors, query = [], {"kinds": "job.failed", "after": 0}
    while True:
        page = read(api, **query)
        assert page["items"] == []
        cursors.append(page["cursor"])
        query["after"] = page["cursor"]
        if not page["more"]:
            break
    assert cursors == sorted(set(cursors))
    assert len(cursors) == 3
    assert cursors[-1] == last_id(api)


@pytest.fixture
def films(api: Api) -> str:
    """The key of a second tenant that has a batch of the same name."""
    with transaction(api.sessions) as session:
        tenant_id = add_tenant(session, "Films")
        key = add_key(session, Scope.PUSH, Scope.READ, tenant_id=tenant_id)
    api.push_batch("pilot", [new_job()])
    order = {"name": "pilot", "jobs": [new_job(), new_job()]}
    api.client.post("/v1/batches", json=order, headers=bearing(key)).raise_for_status()
    api.push()
    settle(api)
    return key


def test_a_tenant_reads_only_its_own_events(api: Api, films: str) -> None:
    with transaction(api.sessions) as session:
        own, observer = add_key(session, Scope.READ), add_key(session, Scope.OBSERVE)
    assert [each["tenant"] for each in read(api, own, kinds="job.*")["items"]] == ["default"] * 2
    assert [each["tenant"] for each in read(api, films, kinds="job.*")["items"]] == ["Films"] * 2
    assert [each["tenant"] for each in read(api, observer, kinds="job.*")["items"]] == [
        "default",
        "Films",
        "Films",
        "default",
    ]
    assert [each["tenant"] for each in read(api, films, kinds="job.*", after=0)["items"]] == ["Films"] * 2


def test_a_batch_is_named_as_in_lists(api: Api, films: str) -> None:
    with transaction(api.sessions) as session:
        own, observer = add_key(session, Scope.READ), add_key(session, Scope.OBSERVE)
    assert [each["number"] for each in read(api, films, batch="PILOT", kinds="job.*")["items"]] == [1, 2]
    assert [each["tenant"] for each in read(api, observer, batch="films:pilot", kinds="job.*")["items"]] == [
        "Films"
    ] * 2
    assert [each["tenant"] for each in read(api, observer, batch="pilot", kinds="job.*")["items"]] == ["default"]
    for name in ("films:pilot", "none", "nobody:pilot"):
        answer = api.client.get("/v1/events", params={"batch": name}, headers=bearing(own))
        assert answer.status_code == 404, name
        assert api.client.get("/v1/events/stream", params={"batch": name}, headers=bearing(own)).status_code == 404


@pytest.mark.parametrize("most", [0, 2000])
def test_a_batch_is_read_from_its_beginning(api: Api, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(reading, "SMALL_BATCH_JOBS", most)  # by a scan, and by its jobs
    monkeypatch.setattr(reading, "SCANNED_EVENTS", 4)
    for _ in range(10):
        api.push()
    batch = api.push_batch("pilot", [new_job(), new_job(), new_job()])
    api.push()
    with transaction(api.sessions) as session:
        rows.add_event(session, "batch.at_risk", batch_id=UUID(batch["id"]))
    settle(api)
    first = read(api, batch="pilot", limit=3)
    kinds = ["batch.pushed", "job.pushed", "job.pushed"]
    assert [each["kind"] for each in first["items"]] == kinds  # found without a walk from the first event on
    rest = read_all(api, batch="pilot", after=first["cursor"])
    assert [(each["kind"], each["number"], each["batch"]) for each in rest] == [
        ("job.pushed", 3, "pilot"),
        ("batch.at_risk", None, "pilot"),
    ]


def test_an_open_batch_is_read_from_its_opening(api: Api) -> None:
    api.push()
    api.client.post("/v1/batches", json={"name": "night"}).raise_for_status()
    settle(api)
    assert [each["kind"] for each in read(api, batch="night")["items"]] == ["batch.opened"]


@pytest.mark.parametrize("query", [{}, {"after": "0"}])
def test_a_push_while_the_end_is_asked_for_is_not_missed(
    api: Api, monkeypatch: pytest.MonkeyPatch, query: dict[str, str]
) -> None:
    api.push()
    with transaction(api.sessions) as session:
        films = add_tenant(session, "Films")
        key = add_key(session, Scope.READ, tenant_id=films)
    find_end = following._find_end

    async def push_first(found: Hub) -> int:
        with transaction(api.sessions) as session:
            rows.add_event(session, "job.pushed", job_id=rows.add_job(session, tenant_id=films))
        wait_until(lambda: found.horizon.advance() >= last_id(api), "the end of the feed")
        return await find_end(found)

    monkeypatch.setattr(following, "_find_end", push_first)
    assert [each["tenant"] for each in read(api, key, **query)["items"]] == ["Films"]


def test_a_tenant_begins_before_its_first_event_whatever_the_order(api: Api) -> None:
    """A slow push of the tenant made the ids of its jobs first, and their events last."""
    with transaction(api.sessions) as session:
        films = add_tenant(session, "Films")
        key = add_key(session, Scope.READ, tenant_id=films)
        first, second = (rows.add_job(session, tenant_id=films) for _ in range(2))
        for job_id in (second, first):
            rows.add_event(session, "job.pushed", job_id=job_id)
    settle(api)
    assert [each["job_id"] for each in read(api, key)["items"]] == [str(second), str(first)]


def test_a_tenant_does_not_walk_through_events_of_others(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SCANNED_EVENTS", 2)
    monkeypatch.setattr(feed, "_MARGIN", 0)
    for _ in range(5):
        api.push()
    with transaction(api.sessions) as session:
        films, guests = add_tenant(session, "Films"), add_tenant(session, "Guests")
        key, other = (add_key(session, Scope.READ, tenant_id=each) for each in (films, guests))
        rows.add_event(session, "job.pushed", job_id=rows.add_job(session, tenant_id=films))
    settle(api)
    assert [each["tenant"] for each in read(api, key, after=0)["items"]] == ["Films"]
    assert (read(api, other, after=0)["cursor"], read(api, other, after=0)["more"]) == (last_id(api), False)


def test_latest_means_from_now_on(api: Api) -> None:
    api.push()
    settle(api)
    page = read(api, after="latest")
    assert (page["items"], page["cursor"]) == ([], last_id(api))
    job_id = api.push()["id"]
    settle(api)
    assert [each["job_id"] for each in read(api, after=page["cursor"])["items"]] == [job_id]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"after": "999999999"}, "after"),
        ({"after": "-1"}, "after"),
        ({"after": "1.5"}, "after"),
        ({"after": "9" * 19}, "after"),
        ({"after": "soon"}, "after"),
        ({"kinds": "job.%"}, "kinds"),
        ({"kinds": "job.*,"}, "kinds"),
        ({"kinds": "*"}, "kinds"),
        ({"kinds": ",".join(["job.*"] * 51)}, "kinds"),
        ({"batch": "a\0b"}, "batch"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"wait": "31"}, "wait"),
        ({"wait": "-1"}, "wait"),
        ({"wait": "nan"}, "wait"),
        ({"tenant": "default"}, "tenant"),
    ],
)
def test_a_wrong_parameter_is_named(api: Api, query: dict[str, str], field: str) -> None:
    paths = ["/v1/events"] if field in {"limit", "wait"} else ["/v1/events", "/v1/events/stream"]
    for path in paths:
        answer = api.client.get(path, params=query)
        assert (answer.status_code, list(fields_of(answer))) == (422, [field]), answer.text


@pytest.mark.parametrize("place", ["x", "999999999", "-2"])
def test_a_wrong_last_event_id_is_named(api: Api, place: str) -> None:
    answer = api.client.get("/v1/events/stream", headers={"Last-Event-ID": place})
    assert (answer.status_code, [name.lower() for name in fields_of(answer)]) == (422, ["last-event-id"])


def test_a_waiting_request_is_answered_by_the_first_event(api: Api) -> None:
    settle(api)
    after = read(api, after="latest")["cursor"]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(read, api, after=after, wait=30, kinds="job.*")
        wait_until(lambda: len(api.app.state.hub._listeners) == 1, "the waiting request")
        began = time.monotonic()
        job_id = api.push()["id"]
        page = waiting.result()
    assert time.monotonic() - began < 20
    assert [each["job_id"] for each in page["items"]] == [job_id]
    assert (page["cursor"] >= page["items"][0]["id"], page["more"]) == (True, False)
    assert read(api, after=page["cursor"])["items"] == []


def test_a_wait_may_take_longer_than_an_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "ANSWER_SECONDS", 0.5)
    began = time.monotonic()
    answer = api.client.get("/v1/events", params={"after": "latest", "wait": 2})
    assert (answer.status_code, answer.json()["items"]) == (200, [])
    assert time.monotonic() - began >= 2


def test_waiting_takes_no_thread_and_no_connection(api: Api) -> None:
    url, count = str(api.client.base_url), 60  # the API has 20 threads and 4 connections
    with ThreadPoolExecutor(count) as pool:
        asked = [
            pool.submit(httpx.get, f"{url}/v1/events?after=latest&wait=30", headers=api.client.headers, timeout=90)
            for _ in range(count)
        ]
        wait_until(lambda: len(api.app.state.hub._listeners) == count, "all of them")
        assert api.client.get("/v1/jobs").status_code == 200
        job_id = api.push()["id"]
        assert {each.result().json()["items"][0]["job_id"] for each in asked} == {job_id}


def test_a_removed_job_leaves_no_event_in_the_feed(api: Api) -> None:
    with transaction(api.sessions) as session:
        rows.add_event(session, "job.failed", job_id=UUID(int=5))
        job_id = rows.add_job(session)
        assert transitions.jobs.set_priority(session, [job_id], priority=7, by="mara")
    settle(api)
    assert [each["job_id"] for each in read(api, after=0)["items"]] == [str(job_id)]


def test_too_many_at_once_get_503_and_leave_others_alone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "READER_SECONDS", 0.2)
    release = threading.Event()

    def read_slowly(*_: object, **__: object) -> FeedPage:
        assert release.wait(60)
        return FeedPage([], 0, has_more=False)

    with monkeypatch.context() as patch, ThreadPoolExecutor() as pool:
        patch.setattr(routes, "read_feed", read_slowly)
        busy = pool.submit(api.client.get, "/v1/events?after=0")  # four connections: one reader
        wait_until(api.app.state.hub._readers.locked, "the readers")
        refused = api.client.get("/v1/events")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert api.push()
        release.set()
        assert busy.result().status_code == 200
    assert len(read(api)["items"]) == 1


def test_a_reader_is_busy_until_its_query_ends(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "READER_SECONDS", 0.2)
    release, reads = threading.Event(), threading.Event()

    def read_slowly(_: object) -> None:
        reads.set()
        assert release.wait(60)

    async def give_up_and_ask_again(found: Hub) -> None:
        given_up = asyncio.ensure_future(found.ask(read_slowly))
        await asyncio.to_thread(reads.wait, 30)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        try:
            with pytest.raises(Unavailable):
                await found.ask(lambda _: None)
        finally:
            release.set()
        await found.ask(lambda _: None)

    asyncio.run(give_up_and_ask_again(Hub(api.sessions, connections=4)))
