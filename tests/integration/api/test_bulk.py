"""Jobs as lines of JSON: into an open batch, all of a request or none, whatever the lines hold."""

import contextlib
import gzip
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import IO, Any

import httpx
import pytest
from sqlalchemy import text

from api import deps
from api.bulk import spooling
from api.idempotency import HEADER, REPLAYED
from models import Scope
from models.db.session import transaction
from rushes.bulk import lines as bulk_lines
from rushes.bulk.lines import LINE_BYTES
from rushes_client import Rushes
from sandbox.servers import EmbeddedPostgres
from tests.support import rows
from tests.support.access import KEY, add_key, add_tenant, bearing
from tests.support.api_server import Api, Json, fields_of, new_job, serve_api
from tests.support.locks import wait_for_a_blocked_statement
from tests.support.servers import cloned_database
from tests.support.simulator_client import wait_until
from tests.support.videos import picture

NDJSON = {"Content-Type": "application/x-ndjson"}
GZIP = {**NDJSON, "Content-Encoding": "gzip"}
LINE = json.dumps(new_job()).encode()
MAX_JOBS = 50


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with serve_api(database_url, tmp_path, max_batch_jobs=MAX_JOBS) as served:
        yield served


@pytest.fixture(scope="module")
def shared(
    postgres: EmbeddedPostgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """One API for requests that store nothing in its batch `pilot`."""
    folder = tmp_path_factory.mktemp("api")
    with (
        cloned_database(postgres, template=migrated_template) as url,
        serve_api(url, folder, max_batch_jobs=MAX_JOBS) as api,
    ):
        open_batch(api)
        yield api


def open_batch(api: Api, name: str = "pilot", **more: Any) -> Json:
    answer = api.client.post("/v1/batches", json={"name": name, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def add(api: Api, *lines: bytes | Json, name: str = "pilot", **headers: str) -> httpx.Response:
    body = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    return send(api, body, name=name, **headers)


def send(api: Api, body: bytes, *, name: str = "pilot", **headers: str) -> httpx.Response:
    return api.client.post(f"/v1/batches/{name}/jobs", content=body, headers={**NDJSON, **headers})


def seal(api: Api, name: str = "pilot") -> httpx.Response:
    return api.client.post(f"/v1/batches/{name}/seal")


def show(api: Api, name: str = "pilot") -> Json:
    return dict(api.client.get(f"/v1/batches/{name}").raise_for_status().json())


def list_jobs(api: Api, name: str = "pilot") -> list[Json]:
    found = api.client.get("/v1/jobs", params={"batch": name, "limit": 500}).raise_for_status().json()["items"]
    return sorted(found, key=lambda job: job["number"])


def count_jobs(api: Api) -> int:
    with transaction(api.sessions) as session:
        return rows.count(session, "job")


def kinds_of(api: Api, name: str = "pilot") -> list[str]:
    found = api.client.get(f"/v1/batches/{name}/events").raise_for_status().json()["items"]
    return [event["kind"] for event in found]


def test_a_batch_is_opened_filled_and_sealed(api: Api) -> None:
    opened = open_batch(api)
    assert (opened["state"], opened["jobs"], opened["sealed_at"], opened["ended_at"]) == ("open", 0, None, None)
    first = add(
        api, new_job(client_ref="S-1", metadata={"a": "\t\\N"}), new_job(input={"prompt": "tab\t, \\ and \u2028 more"})
    )
    assert (first.status_code, first.headers["location"].rpartition("/")[2]) == (201, "pilot")
    assert first.json() == {
        "batch": "pilot",
        "added": 2,
        "first_number": 1,
        "jobs": 2,
        "cost": "0.7200",
        "warnings": [],
    }
    second = add(api, new_job(client_ref="S-3", priority=5, input={"seed": 7}))
    assert second.json() | {"cost": ""} == {
        "batch": "pilot",
        "added": 1,
        "first_number": 3,
        "jobs": 3,
        "cost": "",
        "warnings": [{"message": "seed is not supported by ltx-2-pro: dropped", "jobs": 1}],
    }
    jobs = list_jobs(api)
    assert [(job["number"], job["client_ref"], job["state"], job["priority"]) for job in jobs] == [
        (1, "S-1", "queued", 0),
        (2, None, "queued", 0),
        (3, "S-3", "queued", 5),
    ]
    assert (jobs[0]["metadata"], jobs[1]["input"]["prompt"]) == ({"a": "\t\\N"}, "tab\t, \\ and \u2028 more")
    sealed = seal(api).json()
    assert (sealed["state"], sealed["jobs"], sealed["cost"]["estimated"]) == ("sealed", 3, "1.0800")
    assert seal(api).json()["sealed_at"] == sealed["sealed_at"]
    assert kinds_of(api) == ["batch.opened", "batch.sealed"]
    with transaction(api.sessions) as session:
        assert rows.kinds(session).count("job.pushed") == 3


def test_a_push_with_jobs_is_sealed(api: Api) -> None:
    pushed = api.push_batch("pilot", [new_job()])
    assert (pushed["state"], pushed["sealed_at"]) == ("sealed", pushed["created_at"])
    assert kinds_of(api) == ["batch.pushed"]
    refused = add(api, LINE)
    assert (refused.status_code, refused.json()["detail"]) == (409, "batch 'pilot' is sealed: it takes no more jobs")


@pytest.mark.parametrize(
    "body",
    [
        LINE,
        LINE + b"\r\n",
        b"\xef\xbb\xbf" + LINE + b"\n",
        b"\n\r\n  \n" + LINE + b"\n\n",
        gzip.compress(LINE),
        gzip.compress(b"\n") + gzip.compress(LINE),
    ],
    ids=["no end of line", "crlf", "bom", "blank lines", "gzip", "two members"],
)
@pytest.mark.parametrize("media_type", ["application/x-ndjson", "application/jsonl; charset=utf-8"])
def test_a_line_is_a_job_however_it_is_sent(api: Api, body: bytes, media_type: str) -> None:
    open_batch(api)
    encoding = "gzip" if body.startswith(b"\x1f\x8b") else "identity"
    answer = send(api, body, **{"Content-Type": media_type, "Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["jobs"]) == (201, 1)


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        (b"{", "lines.2", "is not JSON"),
        (b"[" * 10_000, "lines.2", "is not JSON"),
        (LINE[:-1] + b', "metadata": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}", "lines.2", "is not JSON"),
        (LINE.replace(b"fox", b"f\xff"), "lines.2", "is not JSON"),
        (LINE.replace(b"fox", b"f\0"), "lines.2", "is not JSON"),
        (LINE.replace(b"fox", b"\\ud800"), "lines.2", "is not JSON"),
        (LINE.replace(b"fox", b"f\\u0000"), "lines.2.input.prompt", "must not contain NUL"),
        (b"7", "lines.2", "must be an object"),
        (b"[]", "lines.2", "must be an object"),
        (b"{}", "lines.2.model", "is required"),
        (b'{"model": "ltx-2-pro", "input": 7}', "lines.2.input", "must be an object"),
        (b'{"model": "none", "input": {}}', "lines.2.model", "unknown video model"),
        (b'{"model": "ltx-2-pro", "input": {}, "duration": 6}', "lines.2.duration", "go into `input`"),
        (LINE[:-1] + b', "client_ref": "\\n"}', "lines.2.client_ref", "must not be blank"),
        (b" " * LINE_BYTES + LINE, "lines.2", f"has more than {LINE_BYTES:,} bytes"),
        (
            b'{"model": "ltx-2-pro-i2v", "input": {"prompt": "a", "image": "data:image/png;base64,aaaa"}}',
            "lines.2.input.image",
            "POST /v1/uploads",
        ),
        (
            b'{"model": "ltx-2-pro-i2v", "input": {"prompt": "a", "image": "upload:sha256:%b"}}' % (b"0" * 64),
            "lines.2.input.image",
            "is not stored",
        ),
    ],
)
def test_an_invalid_line_is_named_and_nothing_is_stored(shared: Api, line: bytes, field: str, message: str) -> None:
    refused = add(shared, LINE, line, LINE)
    assert refused.status_code == 422
    assert message in fields_of(refused)[field]
    assert show(shared)["jobs"] == 0


def test_the_first_hundred_invalid_lines_are_named_and_all_are_counted(
    shared: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_lines, "PROBLEM_LIMIT", 10)
    refused = add(shared, *[LINE, b"{}"] * 20)
    fields = fields_of(refused)
    assert fields["lines"] == "20 of 40 are invalid: nothing was stored"
    assert {name.split(".")[1] for name in fields if name != "lines"} == {str(2 * number) for number in range(1, 11)}
    assert refused.json()["detail"].startswith("lines: 20 of 40 are invalid")


@pytest.mark.parametrize("body", [b"", b"\n\r\n", b"\xef\xbb\xbf"])
def test_a_body_without_a_job_is_refused(shared: Api, body: bytes) -> None:
    for encoded, encoding in ((body, "identity"), (gzip.compress(body), "gzip")):
        refused = send(shared, encoded, **{"Content-Encoding": encoding})
        assert fields_of(refused) == {"lines": "the body holds no job"}


@pytest.mark.parametrize(
    "body",
    [gzip.compress(LINE * 99)[:-20], zlib.compress(LINE), LINE, gzip.compress(LINE) + b"garbage"],
    ids=["truncated", "zlib", "plain", "with garbage"],
)
def test_a_body_that_is_not_gzip_is_refused(shared: Api, body: bytes) -> None:
    refused = send(shared, body, **GZIP)
    assert (refused.status_code, refused.json()["detail"].partition(":")[0]) == (
        400,
        "the body is not gzip, or not all of it",
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "text/plain"},
        {"Content-Encoding": "br"},
        {"Content-Encoding": "gzip, gzip"},
    ],
)
def test_another_type_or_encoding_is_refused(shared: Api, headers: dict[str, str]) -> None:
    assert send(shared, LINE, **headers).status_code == 415


def test_a_body_that_expands_without_end_is_refused(shared: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_lines, "EXPANDED_BYTES", 50_000_000)
    for piece in (b" ", b"\n", b'{"a": 1}\n'):
        bomb = gzip.compress(piece * (100_000_000 // len(piece)), compresslevel=1)
        refused = send(shared, bomb, **GZIP)
        assert refused.status_code == (413 if piece == b" " else 422)  # else too many lines come first


def test_a_large_body_is_refused_before_it_is_read(shared: Api) -> None:
    limit = shared.app.state.runtime.settings.max_push_size
    with shared.client.stream(
        "POST", "/v1/batches/pilot/jobs", content=iter([b" " * 1_000_000] * (limit // 1_000_000 + 1)), headers=NDJSON
    ) as answer:
        assert answer.status_code == 413


def test_a_full_disk_is_answered_with_503(shared: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_on_full_disk() -> IO[bytes]:
        return Path("/dev/full").open("r+b", buffering=0)

    monkeypatch.setattr(spooling.tempfile, "TemporaryFile", open_on_full_disk)  # type: ignore[attr-defined]
    refused = send(shared, LINE)
    assert (refused.status_code, "disk" in refused.json()["detail"]) == (503, True)


def test_two_large_bodies_of_lines_are_spooled_at_a_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deps, "LARGE_BYTES", 10)
    open_batch(api)
    slots, goes_on = api.app.state.large_reads, Event()

    def drip() -> Iterator[bytes]:
        yield b" " * 11
        assert goes_on.wait(60)
        yield LINE

    def add_slowly() -> int:
        with httpx.Client(base_url=api.client.base_url, headers=api.client.headers, timeout=90) as client:
            return client.post("/v1/batches/pilot/jobs", content=drip(), headers=NDJSON).status_code

    with ThreadPoolExecutor() as pool:
        slow = [pool.submit(add_slowly) for _ in range(2)]
        try:
            wait_until(slots.locked, "two large bodies")
        finally:
            goes_on.set()
        assert [each.result() for each in slow] == [201, 201]


def test_a_slow_body_is_refused(shared: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deps, "STALL_SECONDS", 0.3)

    def drip() -> Iterator[bytes]:
        yield b" "
        Event().wait(1)
        yield LINE

    with contextlib.suppress(httpx.TransportError):  # the server may have closed the connection
        answer = shared.client.post("/v1/batches/pilot/jobs", content=drip(), headers=NDJSON)
        assert answer.status_code == 408
    assert show(shared)["jobs"] == 0


def test_a_request_and_a_batch_have_a_largest_number_of_jobs(api: Api) -> None:
    open_batch(api)
    assert fields_of(add(api, *[LINE] * (MAX_JOBS + 1))) == {
        "lines": "a request takes at most 50 jobs (RUSHES_MAX_BATCH_JOBS), and as many blank lines"
    }
    assert add(api, *[LINE] * (MAX_JOBS - 1)).status_code == 201
    refused = add(api, LINE, LINE)
    assert (refused.status_code, "takes at most 50 in total" in fields_of(refused)["lines"]) == (422, True)
    assert add(api, LINE).json()["jobs"] == MAX_JOBS


def test_defaults_fill_in_what_a_line_does_not_set(api: Api) -> None:
    defaults = {"model": "ltx-2-fast", "priority": 3, "max_attempts": 7, "input": {"duration": 12, "prompt": "a"}}
    open_batch(api, defaults=defaults)
    lines = [{}, {"input": {"prompt": "b"}}, {"model": "ltx-2-pro", "priority": 0, "input": {"duration": 8}}]
    assert add(api, *lines).status_code == 201
    assert [
        (
            job["model"],
            job["priority"],
            job["max_attempts"],
            job["input"]["duration"],
            job["input"]["prompt"],
        )
        for job in list_jobs(api)
    ] == [("ltx-2-fast", 3, 7, 12, "a"), ("ltx-2-fast", 3, 7, 12, "b"), ("ltx-2-pro", 0, 7, 8, "a")]
    assert "lines.1.input.duration" in fields_of(add(api, {"model": "ltx-2-pro"}))


def test_defaults_of_a_push_are_part_of_its_jobs(api: Api) -> None:
    body = {"name": "a", "defaults": {"model": "ltx-2-pro", "max_attempts": 2}, "jobs": [{"input": {"prompt": "x"}}]}
    pushed = api.client.post("/v1/batches", json=body)
    assert (pushed.status_code, list_jobs(api, "a")[0]["max_attempts"]) == (201, 2)
    same = {"name": "b", "on_repeat": "same_jobs", "jobs": [new_job(input={"prompt": "x"}, max_attempts=2)]}
    assert api.client.post("/v1/batches", json=same).json()["name"] == "a"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"defaults": {"model": "none"}}, "defaults.model"),
        ({"defaults": {"priority": 1000}}, "defaults.priority"),
        ({"defaults": {"input": {"prompt": "\0"}}}, "defaults.input"),
        ({"defaults": {"input": {"prompt": "a" * 70_000}}}, "defaults"),
        ({"defaults": {"prompt": "a"}}, "defaults.prompt"),
        ({"digest": "abc"}, "digest"),
        ({"digest": "0" * 64, "jobs": [new_job()]}, "digest"),
        ({"jobs": []}, "jobs"),
        ({"name": "-"}, "name"),
        ({"finish_by": "2020-01-01T00:00:00Z"}, "finish_by"),
    ],
)
def test_a_wrong_field_of_an_opening_is_named(shared: Api, body: Json, field: str) -> None:
    assert field in fields_of(shared.client.post("/v1/batches", json={"name": "other", **body}))


@pytest.mark.parametrize("closes", ["seal", "cancel", "delete"])
def test_a_closed_batch_takes_no_jobs(api: Api, closes: str) -> None:
    open_batch(api)
    add(api, LINE)
    if closes == "seal":
        assert seal(api).status_code == 200
    else:
        cancel(api)
    if closes == "delete":
        with transaction(api.sessions) as session:
            rows.change(session, "job", state="cancelled", ended_at=rows.NOW, due_at=None)
        assert api.client.delete("/v1/batches/pilot").status_code == 202
    refused = add(api, LINE)
    assert refused.status_code == 409
    assert {"seal": "sealed", "cancel": "cancelled", "delete": "deleted"}[closes] in refused.json()["detail"]
    assert seal(api).status_code == (200 if closes == "seal" else 409)
    assert count_jobs(api) == 1


def cancel(api: Api, **more: Any) -> httpx.Response:
    return api.client.post("/v1/actions", json={"kind": "cancel", "filter": {"batch": "pilot", **more}})


def test_cancelling_an_open_batch_closes_it(api: Api) -> None:
    open_batch(api, digest="1" * 64)
    add(api, LINE)
    assert cancel(api, state=["queued"]).status_code == 202
    assert show(api)["state"] == "open"  # only a part of it was cancelled
    assert cancel(api).status_code == 202
    batch = show(api)
    assert (batch["state"], batch["sealed_at"] is None) == ("cancelled", False)
    assert kinds_of(api) == ["batch.opened", "batch.cancelled"]
    again = {"name": "again", "digest": "1" * 64, "on_repeat": "same_jobs"}
    assert api.client.post("/v1/batches", json=again).json()["name"] == "again"  # the other does not hold all jobs


def test_cancelling_reaches_jobs_that_are_being_added(api: Api) -> None:
    open_batch(api)
    with ThreadPoolExecutor(1) as pool, transaction(api.sessions) as session:
        held = session.execute(text("SELECT id FROM batch FOR NO KEY UPDATE")).scalar_one()
        cancelling = pool.submit(cancel, api)
        wait_for_a_blocked_statement(api.sessions)
        rows.add_job(session, batch_id=held, number=1, created_at=rows.HOUR)
        session.commit()
        assert cancelling.result(60).json()["matched"] == 1


def test_requests_at_once_number_their_jobs_one_after_the_other(api: Api) -> None:
    open_batch(api)
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: add(api, *[LINE] * 5), range(10)))
    assert sorted(answer.json()["first_number"] for answer in answers) == [*range(1, 51, 5)]
    assert [job["number"] for job in list_jobs(api)] == [*range(1, 51)]


def test_a_repeated_request_adds_nothing(api: Api) -> None:
    open_batch(api)
    first, again = (add(api, LINE, **{HEADER: "k-1"}) for _ in range(2))
    assert (again.content, again.headers[REPLAYED]) == (first.content, "true")
    seal(api)
    assert add(api, LINE, **{HEADER: "k-1"}).content == first.content  # although it is closed now
    other = add(api, LINE, LINE, **{HEADER: "k-1"})
    assert (other.status_code, set(fields_of(other))) == (422, {HEADER})
    assert count_jobs(api) == 1


def test_twins_add_their_jobs_once(api: Api) -> None:
    open_batch(api)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: add(api, LINE, LINE, **{HEADER: "k-1"}), range(4)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {answer.content for answer in answers if answer.is_success} == {answers[0].content}
    assert count_jobs(api) == 2


def test_file_names_are_unique_across_requests(api: Api) -> None:
    open_batch(api)
    add(api, new_job(client_ref="Shot 1"), new_job(client_ref="7-a"))
    add(
        api,
        new_job(client_ref="shot 1"),
        new_job(client_ref="Shot 2"),
        new_job(client_ref="x"),
        new_job(client_ref="X"),
    )
    with transaction(api.sessions) as session:
        stems = session.scalars(text("SELECT file_stem FROM job ORDER BY number")).all()
    assert stems == ["Shot-1", None, None, "Shot-2", None, None]


def test_a_repeated_opening_returns_the_batch_while_it_is_filled(api: Api) -> None:
    opening = {"on_repeat": "same_jobs", "digest": "a" * 64}
    open_batch(api, **opening)
    add(api, LINE)
    again = api.client.post("/v1/batches", json={"name": "other", **opening})
    assert (again.status_code, again.json()["repeated"]) == (200, True)
    assert (again.json()["name"], again.json()["state"], again.json()["jobs"]) == ("pilot", "open", 1)
    taken = api.client.post("/v1/batches", json={"name": "pilot"})
    assert taken.status_code == 409
    without_digest = api.client.post("/v1/batches", json={"name": "pilot", "on_repeat": "same_name"})
    assert without_digest.status_code == 409


def test_uploads_are_those_of_the_batches_tenant(api: Api) -> None:
    reference = api.client.post("/v1/uploads", content=picture(), headers={"Content-Type": "image/png"}).json()[
        "reference"
    ]
    open_batch(api)
    job = {"model": "ltx-2-pro-i2v", "input": {"prompt": "a", "image": reference}}
    assert add(api, LINE, job).status_code == 201
    with transaction(api.sessions) as session:
        assert session.execute(text("SELECT number FROM job JOIN job_upload ON job_id = job.id")).all() == [(2,)]
        key = add_key(session, Scope.PUSH, tenant_id=add_tenant(session, "acme"))
    api.client.post("/v1/batches", json={"name": "theirs"}, headers=bearing(key)).raise_for_status()
    refused = api.client.post(
        "/v1/batches/theirs/jobs", content=json.dumps(job).encode(), headers={**NDJSON, **bearing(key)}
    )
    assert "is not stored" in fields_of(refused)["lines.1.input.image"]


def test_the_python_client_pushes_any_number_of_jobs_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rushes_client.client.PIECE", 20)
    defaults = {"model": "ltx-2-fast", "input": {"duration": 8}}
    for _ in range(2):
        with Rushes(str(api.client.base_url), key=KEY) as rushes:
            jobs = ({"input": {"prompt": f"shot {number}"}} for number in range(45))
            batch = rushes.push_many(jobs, name="pilot", defaults=defaults)
        assert (batch.jobs, batch.states["queued"]) == (45, 45)
    assert [job["input"]["prompt"] for job in list_jobs(api)] == [f"shot {number}" for number in range(45)]


def test_another_tenants_batch_does_not_exist(api: Api) -> None:
    open_batch(api)
    with transaction(api.sessions) as session:
        key = add_key(session, Scope.PUSH, tenant_id=add_tenant(session, "acme"))
    for path in ("jobs", "seal"):
        answer = api.client.post(f"/v1/batches/pilot/{path}", content=LINE, headers={**NDJSON, **bearing(key)})
        assert answer.status_code == 404
    assert bearing(KEY)
    assert count_jobs(api) == 0
