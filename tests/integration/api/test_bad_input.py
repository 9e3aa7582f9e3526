"""Hostile requests: each is refused in bounded memory and time, and the next request works."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from api import deps, middleware
from sandbox.servers import EmbeddedPostgres
from tests.support.access import KEY, bearing
from tests.support.api_server import Api, fields_of, new_job, serve_api
from tests.support.servers import cloned_database
from tests.support.simulator_client import wait_until

JSON = {"Content-Type": "application/json"}
GIGABYTE = 1_000_000_000
FLAT_BYTES = 250_000_000
"""Far below a gigabyte; a push of the largest size, 64 MB, takes a few times its size."""
PROMPT = '{"model": "ltx-2-pro", "input": {"prompt": "a"}'
RETRY = '{"kind": "retry", "filter": {"batch": "pilot"}, "input": '


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("api")
    with cloned_database(postgres, template=migrated_template) as url, serve_api(url, folder) as api:
        api.push_batch("pilot", [new_job()])
        yield api


@pytest.fixture(autouse=True)
def _next_request_works(api: Api) -> Iterator[None]:
    yield
    assert api.client.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
        (PROMPT + ', "metadata": {"a": ' + "[" * 300 + "]" * 300 + "}}").encode(),
        (PROMPT + "}").encode("utf-16"),
        PROMPT.replace('"a"', '"\xe4"').encode("latin-1"),
        PROMPT.replace('"a"', '"\\ud800"').encode(),
        (PROMPT + ', "metadata": {"a": ' + "9" * 10_000 + "}}").encode(),
        b"\0",
        b"",
    ],
    ids=range(9),
)
def test_a_body_that_is_no_json_is_refused(api: Api, body: bytes) -> None:
    assert api.client.post("/v1/jobs", content=body, headers=JSON).status_code == 400


@pytest.mark.parametrize("body", [b"7", b"[]", b'"a"', b"null", b"true", b"[[]]", b"{}"])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/batches", "/v1/estimate", "/v1/actions", "/v1/prune"])
def test_json_of_the_wrong_type_is_refused(api: Api, path: str, body: bytes) -> None:
    assert api.client.post(path, content=body, headers=JSON).status_code == 422


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/prune", '{"older_than_days": -1e300}', "older_than_days"),
        ("/v1/prune", '{"older_than_days": -Infinity, "dry_run": true}', "older_than_days"),
        ("/v1/prune", '{"older_than_days": NaN}', "older_than_days"),
        ("/v1/jobs", PROMPT + ', "metadata": {"a": NaN}}', "metadata"),
        ("/v1/jobs", PROMPT + ', "metadata": {"a": [1e400]}}', "metadata"),
        ("/v1/jobs", PROMPT + ', "metadata": {"\\u0000": 1}}', "metadata"),
        ("/v1/jobs", PROMPT + ', "client_ref": "' + "x" * 10_000 + '"}', "client_ref"),
        ("/v1/jobs", '{"model": "' + "x" * 10_000 + '", "input": {}}', "model"),
        ("/v1/batches", '{"name": "' + "x" * 10_000 + '", "jobs": [' + PROMPT + "}]}", "name"),
        ("/v1/batches", '{"name": "late", "finish_by": "9999-12-31T23:59:59-14:00", "jobs": []}', "jobs"),
        ("/v1/actions", RETRY + '{"prompt": "a\\u0000b"}}', "input"),
        ("/v1/actions", RETRY + '{"a\\u0000": "b"}}', "input"),
        ("/v1/actions", RETRY + '{"prompt": NaN}}', "input"),
        ("/v1/actions", '{"kind": "retry", "filter": {"client_ref": "a\\u0000"}}', "filter.client_ref"),
    ],
)
def test_a_value_that_cannot_be_stored_is_refused_by_name(api: Api, path: str, body: str, field: str) -> None:
    refused = api.client.post(path, content=body, headers=JSON)
    assert (refused.status_code, list(fields_of(refused))) == (422, [field])


@pytest.mark.parametrize("path", ["/v1/jobs?client_ref=%00", "/v1/failures?client_ref=%00", "/v1/failures?model=%00"])
def test_a_filter_with_nul_is_refused(api: Api, path: str) -> None:
    assert api.client.get(path).status_code == 422


def test_an_outcome_with_nul_is_refused(api: Api) -> None:
    asked = {"kind": "cancel", "filter": {"client_ref": "nobody"}}
    action = api.client.post("/v1/actions", json=asked).raise_for_status().json()["id"]
    assert api.client.get(f"/v1/actions/{action}/items?outcome=%00").status_code == 422


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/jobs", {"X-Api-Key": "x" * 10_000}, 401),
        ("/v1/jobs", {"X-Api-Key": b"\xff"}, 401),
        ("/v1/jobs", {"Authorization": b"Bearer \xff\xfe"}, 401),
        ("/v1/jobs", {"X-Whatever": "x" * 10_000}, 200),
        ("/v1/jobs", {"Host": b"\xff["}, 200),
        ("/v1/batches/" + "x" * 10_000, {}, 404),
        ("/v1/batches/%ff%fe", {}, 404),
        ("/v1/jobs/" + "x" * 10_000, {}, 422),
        ("/v1/jobs?created_after=" + "9" * 10_000, {}, 422),
        ("/v1/jobs?created_after=0001-01-01T00:00:00%2B14:00", {}, 200),
        ("/v1/jobs?created_before=9999-12-31T23:59:59-14:00", {}, 200),
        ("/v1/jobs?limit=" + "9" * 10_000, {}, 422),
    ],
    ids=range(12),
)
def test_a_long_or_undecodable_name_is_no_failure(
    api: Api, path: str, headers: dict[str, str | bytes], status: int
) -> None:
    assert api.client.get(path, headers=headers).status_code == status  # type: ignore[arg-type]


def head(path: str, *lines: str) -> bytes:
    """The head of a push."""
    fields = [f"{name}: {value}" for name, value in {**JSON, **bearing(KEY), "Host": "rushes"}.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", *fields, *lines, "", ""]).encode()


@contextlib.contextmanager
def connected(url: httpx.URL) -> Iterator[socket.socket]:
    """A connection for bytes that no client would send."""
    with socket.create_connection((url.host, url.port or 80), timeout=60) as sock:
        yield sock


def large_push(api: Api) -> httpx.Response:
    body = b'{"name": "large", "jobs": [' + b" " * deps.LARGE_BYTES + b"]}"
    return api.client.post("/v1/batches", content=body, headers=JSON)


def test_a_client_that_stalls_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deps, "STALL_SECONDS", 1.0)
    with connected(api.client.base_url) as stalled:
        stalled.sendall(head("/v1/batches", "Content-Length: 50000000") + b"{")
        answer = stalled.makefile("rb").read()  # until the server closes
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"the body arrived too slowly" in answer


@pytest.mark.parametrize("sent", [0, deps.LARGE_BYTES + 1])
def test_a_client_that_stalls_does_not_delay_large_pushes(api: Api, sent: int) -> None:
    with connected(api.client.base_url) as stalled:
        stalled.sendall(head("/v1/batches", "Content-Length: 40000000") + b" " * sent)
        assert large_push(api).status_code == 422


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/jobs", "/v1/uploads", "/v1/jobs/pilot/1/retry"])
def test_two_large_bodies_are_read_at_a_time(api: Api, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    slots = api.app.state.large_reads
    with connected(api.client.base_url) as one, connected(api.client.base_url) as other:
        for each in (one, other):
            lines = head(path, "Content-Length: 30000000")
            each.sendall(lines.replace(b"application/json", b"image/png") if "uploads" in path else lines)
            each.sendall(b" " * (deps.LARGE_BYTES + 1))
        wait_until(slots.locked, "two large bodies")
        monkeypatch.setattr(middleware, "ANSWER_SECONDS", 0.5)
        monkeypatch.setattr(middleware, "SECONDS_PER_MEGABYTE", 0.0)
        late = large_push(api)
        monkeypatch.undo()
        assert (late.status_code, late.json()["detail"].partition(";")[0]) == (
            503,
            "the request was not handled in time",
        )
        assert api.client.post("/v1/batches", content=iter([b"{}"]), headers=JSON).status_code == 422
    wait_until(lambda: not slots.locked(), "the end of both")
    assert large_push(api).status_code == 422


@pytest.mark.parametrize("path", ["/v1/uploads", "/v1/jobs/pilot/1/retry"])
def test_a_body_of_the_wrong_type_is_not_awaited(api: Api, path: str) -> None:
    with connected(api.client.base_url) as sock:
        sock.sendall(head(path, "Content-Length: 30000000").replace(b"application/json", b"text/plain"))
        assert sock.recv(100).startswith(b"HTTP/1.1 415")


def test_a_body_that_drips_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deps, "STALL_SECONDS", 0.5)
    with connected(api.client.base_url) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(head("/v1/jobs", "Content-Length: 100000"))
        sock.settimeout(0.02)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            sock.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                assert sock.recv(100).startswith(b"HTTP/1.1 408")
                return
    pytest.fail("the body was still awaited")


@pytest.fixture
def process(postgres: EmbeddedPostgres, migrated_template: str, tmp_path: Path) -> Iterator[tuple[httpx.Client, int]]:
    """The API in a process of its own: a client for it, and its process id."""
    with cloned_database(postgres, template=migrated_template) as url, socket.create_server(("127.0.0.1", 0)) as own:
        command = [sys.executable, "-m", "uvicorn", "--factory", "api.app:create_app", "--fd", str(own.fileno())]
        settings = {"RUSHES_DATABASE_URL": url, "RUSHES_DATA_DIR": str(tmp_path), "RUSHES_LOG_JSON": "true"}
        with (tmp_path / "log").open("wb") as log:
            served = subprocess.Popen(
                command, env=os.environ | settings, stdout=log, stderr=log, pass_fds=[own.fileno()]
            )
        place = f"http://127.0.0.1:{own.getsockname()[1]}"
        try:
            with httpx.Client(base_url=place, timeout=120, trust_env=False, headers=bearing(KEY)) as client:
                assert client.get("/v1/jobs").status_code == 200  # the socket listens already
                yield client, served.pid
        finally:
            served.terminate()
            served.wait(60)


def test_bodies_of_a_gigabyte_take_no_memory(process: tuple[httpx.Client, int]) -> None:
    client, pid = process
    for lines in (["Transfer-Encoding: chunked"], [f"Content-Length: {GIGABYTE}"]):
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n" if lines[0].startswith("T") else b" " * 0x100000
        with connected(client.base_url) as sock:
            sock.sendall(head("/v1/batches", *lines))
            with contextlib.suppress(ConnectionError):  # the server may close once it has answered
                for _ in range(GIGABYTE // 0x100000):
                    sock.sendall(chunk)
            assert sock.recv(100).startswith(b"HTTP/1.1 413")
        assert psutil.Process(pid).memory_info().rss < FLAT_BYTES
        assert client.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize(
    "piece", [b" " * 1_000_000, b'{"model": "none", "input": {"prompt": "' + b"a" * 10_000 + b'"}}\n']
)
def test_lines_that_expand_to_a_gigabyte_take_no_memory(process: tuple[httpx.Client, int], piece: bytes) -> None:
    client, pid = process
    packer = zlib.compressobj(1, wbits=31)
    packed = b"".join([packer.compress(piece * (10_000_000 // len(piece))) for _ in range(110)]) + packer.flush()
    client.post("/v1/batches", json={"name": "bomb"}).raise_for_status()
    headers = {"Content-Type": "application/jsonl", "Content-Encoding": "gzip"}
    refused = client.post("/v1/batches/bomb/jobs", content=packed, headers=headers)
    assert refused.status_code in {413, 422}
    assert psutil.Process(pid).memory_info().rss < FLAT_BYTES


def test_nested_bodies_take_no_memory(process: tuple[httpx.Client, int]) -> None:
    client, pid = process
    for _ in range(3):
        body = b'{"name": "deep", "jobs": ' + b"[" * 40_000_000
        assert client.post("/v1/batches", content=body, headers=JSON).status_code == 400
    assert psutil.Process(pid).memory_info().rss < FLAT_BYTES
