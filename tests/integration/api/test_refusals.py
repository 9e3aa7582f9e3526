"""Bad input over HTTP: every fault is named, and nothing of a refused body is stored."""

import gzip
import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

import pytest

from api.deps import FILE_JOB_BYTES
from models.db.session import transaction
from rushes.settings import Settings
from sandbox.servers import EmbeddedPostgres
from tests.support import rows
from tests.support.access import KEY, bearing
from tests.support.api_server import PROBLEM, Api, Json, fields_of, new_job, serve_api
from tests.support.servers import cloned_database

JSON = {"Content-Type": "application/json"}
IMAGE_JOB = {"model": "ltx-2-pro-i2v"}
NOBODY = UUID(int=1)
MAX_PUSH_BYTES = 64_000_000
NOT_A_URL = "must be an http or https URL"


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One API for all: what is refused leaves nothing behind, and each test checks that it did not."""
    folder = tmp_path_factory.mktemp("api")
    with cloned_database(postgres, template=migrated_template) as url, serve_api(url, folder, max_batch_jobs=3) as api:
        yield api


@pytest.fixture(autouse=True)
def _nothing_is_stored(api: Api) -> Iterator[None]:
    yield
    with transaction(api.sessions) as session:
        assert [rows.count(session, table) for table in ("job", "batch", "event")] == [0, 0, 0]


WRONG: list[tuple[Json, str, str]] = [
    (new_job(input={"prompt": ""}), "input.prompt", "must not be empty"),
    (new_job(input={"prompt": " \n"}), "input.prompt", "must not be empty"),
    (new_job(input={"prompt": "x" * 5001}), "input.prompt", "must have at most 5000 characters, not 5001"),
    (new_job(input={"prompt": "a\0b"}), "input.prompt", "must not contain NUL or half of a surrogate pair"),
    (new_job(input={"prompt": None}), "input.prompt", "is required by ltx-2-pro"),
    (new_job(input={"prompt": 7}), "input.prompt", "must be text, not a number"),
    (new_job(input={"duration": 7}), "input.duration", "must be one of 6, 8, 10, not 7"),
    (new_job(input={"duration": "6"}), "input.duration", "must be a whole number, not '6'"),
    (new_job(input={"duration": 10**4000}), "input.duration", "must be one of 6, 8, 10, not 1000"),
    (new_job(input={"generate_audio": 1}), "input.generate_audio", "must be true or false, not a number"),
    (new_job(input={"resolution": "4k"}), "input.resolution", "ltx-2-pro has no such parameter"),
    (new_job(input={"a\0b": 1}), "input.a\0b", "ltx-2-pro has no such parameter"),
    (new_job(model="ltx-3"), "model", "unknown video model 'ltx-3'; choose one of ltx-2-pro"),
    (new_job(model=""), "model", "unknown video model ''"),
    (new_job(**IMAGE_JOB), "input.image", "is required by ltx-2-pro-i2v"),
    (new_job(**IMAGE_JOB, input={"image": "javascript:alert(1)"}), "input.image", NOT_A_URL),
    (new_job(**IMAGE_JOB, input={"image": "file:///etc/passwd"}), "input.image", NOT_A_URL),
    (new_job(**IMAGE_JOB, input={"image": "http://"}), "input.image", NOT_A_URL),
    (new_job(**IMAGE_JOB, input={"image": "http://a/\0"}), "input.image", NOT_A_URL),
    (new_job(priority=101), "priority", "must be at most 100"),
    (new_job(max_attempts=0), "max_attempts", "must be at least 1"),
    (new_job(color="red"), "color", "unknown field"),
]


@pytest.mark.parametrize(("job", "field", "message"), WRONG, ids=lambda each: str(each)[:40])
def test_a_wrong_job_is_refused_by_field_alone_and_in_a_batch(api: Api, job: Json, field: str, message: str) -> None:
    alone = api.client.post("/v1/jobs", json=job)
    batch = api.client.post("/v1/batches", json={"name": "pilot", "jobs": [new_job(), job]})
    priced = api.client.post("/v1/estimate", json={"jobs": [new_job(), job]})
    for response, prefix in ((alone, ""), (batch, "jobs.1."), (priced, "jobs.1.")):
        assert response.status_code == 422
        assert list(fields_of(response)) == [prefix + field]
        assert fields_of(response)[prefix + field].startswith(message)


@pytest.mark.parametrize(
    ("number", "shown"), [("NaN", "nan"), ("Infinity", "inf"), ("-Infinity", "-inf"), ("1e400", "inf")]
)
def test_a_number_that_is_none_is_refused_by_field(api: Api, number: str, shown: str) -> None:
    body = f'{{"model": "ltx-2-pro", "input": {{"prompt": "a fox", "duration": {number}}}}}'
    response = api.client.post("/v1/jobs", content=body, headers=JSON)
    assert (response.status_code, fields_of(response)) == (
        422,
        {"input.duration": f"must be a whole number, not {shown}"},
    )


def test_a_batch_names_the_problems_of_all_its_jobs(api: Api) -> None:
    jobs = [new_job(input={"duration": 7}), new_job(), new_job(model="ltx-3")]
    response = api.client.post("/v1/batches", json={"name": "pilot", "jobs": jobs})
    assert list(fields_of(response)) == ["jobs.0.input.duration", "jobs.2.model"]


@pytest.mark.parametrize(("count", "reported"), [(0, "not 0"), (4, "not 4")])
@pytest.mark.parametrize("path", ["/v1/batches", "/v1/estimate"])
def test_a_batch_has_as_many_jobs_as_are_allowed(api: Api, path: str, count: int, reported: str) -> None:
    body = {"jobs": [new_job()] * count} | ({"name": "pilot"} if path == "/v1/batches" else {})
    response = api.client.post(path, json=body)
    assert (response.status_code, fields_of(response)) == (422, {"jobs": f"must hold 1 to 3 jobs, {reported}"})


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "x" * 65, "a\0", "ä", "pilot\n"])
def test_a_name_that_is_no_folder_is_refused(api: Api, name: str) -> None:
    response = api.client.post("/v1/batches", json={"name": name, "jobs": [new_job()]})
    assert (response.status_code, list(fields_of(response))) == (422, ["name"])


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/batches", "/v1/estimate"])
def test_broken_json_is_refused_with_its_place(api: Api, path: str) -> None:
    response = api.client.post(path, content=b'{\n "model": tru}', headers=JSON)
    assert (response.status_code, response.json()["detail"]) == (
        400,
        "the body is not JSON: expected ident at line 2 column 14",
    )


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/batches", "/v1/estimate"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {**JSON, "Content-Encoding": "gzip"},
    ],
)
def test_a_body_that_is_not_plain_json_by_its_headers_is_refused(api: Api, path: str, headers: dict[str, str]) -> None:
    body = json.dumps(new_job()).encode()
    content = gzip.compress(body) if "Content-Encoding" in headers else body
    assert api.client.post(path, content=content, headers=headers).status_code == 415


def test_a_body_that_is_announced_as_too_large_is_not_read(api: Api) -> None:
    connection = http.client.HTTPConnection(api.client.base_url.host, api.client.base_url.port, timeout=60)
    with closing(connection):
        connection.putrequest("POST", "/v1/batches")
        for name, value in (*JSON.items(), *bearing(KEY).items(), ("Content-Length", str(MAX_PUSH_BYTES + 1))):
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        assert (response.status, response.getheader("content-type")) == (413, PROBLEM)
        assert b"64,000,000 bytes, the most that this API accepts (RUSHES_MAX_PUSH_SIZE)" in response.read()


def test_a_body_that_grows_too_large_is_refused_on_the_way(api: Api) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"model": "ltx-2-pro", "input": {"prompt": "'
        for _ in range(FILE_JOB_BYTES // 100_000):
            yield b"x" * 100_000

    response = api.client.post("/v1/jobs", content=endless(), headers=JSON)
    assert (response.status_code, response.json()["detail"]) == (
        413,
        "the body has more than 42,000,000 bytes",
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/jobs/%2e%2e/%2e%2e/etc", 404),
        ("DELETE", "/v1/jobs", 405),
        ("PUT", "/healthz", 405),
    ],
)
def test_unknown_addresses_and_methods_are_problems_too(api: Api, method: str, path: str, status: int) -> None:
    response = api.client.request(method, path)
    assert (response.status_code, response.json()["status"]) == (status, status)


def test_a_wrong_url_in_the_settings_is_not_quoted() -> None:
    with pytest.raises(ValueError, match="database_url") as refused:
        Settings(database_url="mysql://user:secret@db/x")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("path", ["", "/events", "/video", "/poster"])
def test_an_unknown_job_is_not_found(api: Api, path: str) -> None:
    assert api.client.get(f"/v1/jobs/{NOBODY}{path}").status_code == 404


@pytest.mark.parametrize("path", ["", "/events", "/video", "/poster"])
@pytest.mark.parametrize("job_id", ["7", "%00", "not-a-uuid", "%2e%2e"])
def test_an_id_that_is_none_is_refused_by_name(api: Api, path: str, job_id: str) -> None:
    response = api.client.get(f"/v1/jobs/{job_id}{path}")
    assert (response.status_code, fields_of(response)) == (422, {"job_id": "must be a UUID or BATCH/NUMBER"})


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=done", "state.0"),
        ("state=failed&state=done", "state.1"),
        ("code=%00", "code"),
        ("batch=%00", "batch"),
        ("client_ref=%00", "client_ref"),
        ("tenant=%00", "tenant"),
        ("ids=7", "ids"),
        ("created_after=2h", "created_after"),
        ("created_before=2026-11-05T12:00:00", "created_before"),
        ("ended_after=5", "ended_after"),
        ("ended_after=0.5", "ended_after"),
        ("ended_after=1e9", "ended_after"),
        ("ended_before=-5", "ended_before"),
        ("model=ltx-9", "model"),
        ("model=%00", "model"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=ten", "limit"),
        ("limit=9223372036854775808", "limit"),
        ("cursor=hmm", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=AAAAAAAAAAA", "cursor"),
        ("status=queued", "status"),
    ],
)
def test_a_wrong_filter_is_refused_by_name(api: Api, query: str, field: str) -> None:
    response = api.client.get(f"/v1/jobs?{query}")
    assert (response.status_code, list(fields_of(response))) == (422, [field])


@pytest.mark.parametrize("batch", ["nobody", str(NOBODY), "x" * 5_000])
def test_a_filter_by_an_unknown_batch_is_not_found(api: Api, batch: str) -> None:
    response = api.client.get(f"/v1/jobs?batch={batch}")
    assert response.status_code == 404
    assert response.json()["detail"].startswith("there is no batch")
    assert api.client.get(f"/v1/jobs?ids={batch}/1").status_code == 404


@pytest.mark.parametrize("move", ["cancel", "retry"])
def test_an_unknown_job_cannot_be_moved(api: Api, move: str) -> None:
    assert api.client.post(f"/v1/jobs/{NOBODY}/{move}").status_code == 404
    assert api.client.post(f"/v1/jobs/7/{move}").status_code == 422


@pytest.mark.parametrize("name", ["nobody", "%00", "00000000-0000-0000-0000-000000000000", "x" * 5_000, "%F0%9F%A6%8A"])
def test_an_unknown_batch_is_not_found(api: Api, name: str) -> None:
    response = api.client.get(f"/v1/batches/{name}")
    assert (response.status_code, response.json()["errors"]) == (404, [])


@pytest.mark.parametrize(("query", "field"), [("cursor=x", "cursor"), ("limit=0", "limit"), ("name=pilot", "name")])
def test_a_wrong_listing_of_batches_is_refused_by_name(api: Api, query: str, field: str) -> None:
    response = api.client.get(f"/v1/batches?{query}")
    assert (response.status_code, list(fields_of(response))) == (422, [field])
