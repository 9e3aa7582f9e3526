"""Requests with an Idempotency-Key: repeated, changed, at the same time, expired, of other tenants, and malformed."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from starlette.requests import Request

from api.idempotency import HEADER, REPLAYED, Made, Once
from api.schemas.batches import BatchWarning
from models import DEFAULT_TENANT, Scope, transitions
from models.db.rows import statement
from models.db.session import LOCK_TIMEOUT, transaction
from models.transitions.access import answered
from models.transitions.access.answered import KEPT, KeptAnswer, RequestKey
from rushes.access import answers
from rushes.access.answers import answer_once
from rushes.access.callers import act_locally
from rushes.errors import InProgress
from rushes.jobs.pruning import Keep, prune
from tests.support.access import add_key, add_tenant, bearing
from tests.support.api_server import Api, Json, fields_of, new_job
from tests.support.rows import change
from tests.support.simulator_client import wait_until

DIGEST = "0" * 64
BATCH = {"name": "night", "jobs": [new_job()]}
ACTION = {"kind": "pause", "filter": {"state": ["queued"]}}
PUSHES = (("job", "/v1/jobs", new_job()), ("batch", "/v1/batches", BATCH), ("action", "/v1/actions", ACTION))


def push(api: Api, key: str, path: str = "/v1/jobs", **body: Any) -> httpx.Response:
    return api.client.post(path, json=body or new_job(), headers={HEADER: key})


def count(api: Api, table: str) -> int:
    with transaction(api.sessions) as session:
        return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608


@pytest.mark.parametrize(("table", "path", "body"), PUSHES)
def test_a_repeated_request_gets_the_first_answer_again(api: Api, table: str, path: str, body: Json) -> None:
    first, again = push(api, "k-1", path, **body), push(api, "k-1", path, **body)
    assert (first.is_success, REPLAYED in first.headers) == (True, False)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers.get("location") == first.headers.get("location")
    assert again.headers[REPLAYED] == "true"
    assert count(api, table) == 1


def test_a_request_without_a_key_is_not_remembered(api: Api) -> None:
    assert api.push()["id"] != api.push()["id"]
    assert count(api, "idempotent_request") == 0


def test_a_key_is_refused_for_another_body_and_another_path(api: Api) -> None:
    assert push(api, "k-1").status_code == 201
    for path, body in (("/v1/jobs", new_job(priority=3)), ("/v1/batches", BATCH)):
        refused = push(api, "k-1", path, **body)
        assert refused.status_code == 422
        assert "another request" in fields_of(refused)[HEADER]
    assert count(api, "job") == 1


def test_a_refused_request_leaves_its_key_free(api: Api) -> None:
    assert push(api, "k-1", model="no-such-model").status_code == 422
    assert push(api, "k-2", "/v1/batches", name="night", jobs=[new_job()]).status_code == 201
    assert push(api, "k-3", "/v1/batches", name="night", jobs=[new_job()]).status_code == 409
    assert count(api, "idempotent_request") == 1
    assert push(api, "k-1").status_code == 201


def test_a_dry_run_uses_no_key(api: Api) -> None:
    assert push(api, "k-1", "/v1/actions", **ACTION, dry_run=True).status_code == 200
    assert push(api, "k-1", "/v1/actions", **ACTION).status_code == 202


@pytest.mark.parametrize("key", ['"k-1"', '"a\\"b\\\\c"', "!~", "k" * 255, f'"{"k" * 255}"'])
def test_a_key_may_be_quoted_or_bare(api: Api, key: str) -> None:
    assert push(api, key).status_code == 201
    assert push(api, key).headers[REPLAYED] == "true"


def test_quotes_are_not_part_of_a_key(api: Api) -> None:
    assert push(api, '"k-1"').content == push(api, "k-1").content
    assert push(api, '"a\\"b"').content == push(api, 'a"b').content


@pytest.mark.parametrize("key", ["", '""', '"', '"k', '"k"x', '"k\\x"', "two words", '"two words"', "k" * 256, b"\xe9"])
def test_a_malformed_key_is_refused_by_its_name(api: Api, key: str | bytes) -> None:
    refused = api.client.post("/v1/jobs", json=new_job(), headers={HEADER: key})
    assert (refused.status_code, set(fields_of(refused))) == (422, {HEADER})


def test_two_keys_in_one_request_are_refused(api: Api) -> None:
    headers = [(HEADER, "k-1"), (HEADER, "k-2"), ("content-type", "application/json")]
    refused = api.client.post("/v1/jobs", content=b"{}", headers=[*api.client.headers.items(), *headers])
    assert refused.status_code == 422


def test_tenants_may_use_the_same_key(api: Api) -> None:
    with transaction(api.sessions) as session:
        key = add_key(session, Scope.PUSH, tenant_id=add_tenant(session, "acme"))
    ours = push(api, "k-1")
    theirs = api.client.post("/v1/jobs", json=new_job(), headers={HEADER: "k-1", **bearing(key)})
    assert (theirs.status_code, REPLAYED in theirs.headers) == (201, False)
    assert theirs.json()["id"] != ours.json()["id"]


def test_an_expired_key_is_free_again(api: Api) -> None:
    first = push(api, "k-1")
    age(api)
    second = push(api, "k-1")
    assert REPLAYED not in second.headers
    assert first.json()["id"] != second.json()["id"]
    assert push(api, "k-1").json()["id"] == second.json()["id"]


def test_pruning_removes_expired_keys_only(api: Api) -> None:
    push(api, "old")
    age(api)
    push(api, "new")
    assert prune(api.app.state.runtime, Keep()).done
    with transaction(api.sessions) as session:
        assert session.scalars(text("SELECT key FROM idempotent_request")).all() == ["new"]


def age(api: Api) -> None:
    """Every key has just expired."""
    with transaction(api.sessions) as session:
        change(session, "idempotent_request", created_at=-KEPT - timedelta(seconds=1))


def test_a_twin_waits_for_the_first_and_gets_its_answer(api: Api) -> None:
    request, may_end, began = RequestKey(DEFAULT_TENANT, "k-1", DIGEST), Event(), Event()

    def make(_: object) -> tuple[KeptAnswer, KeptAnswer]:
        began.set()
        assert may_end.wait(60)
        return (KeptAnswer(201, "{}"),) * 2

    with ThreadPoolExecutor() as threads:
        first = threads.submit(answer_once, api.sessions, request, make)
        assert began.wait(60)
        twin = threads.submit(answer_once, api.sessions, request, make)
        may_end.set()
        both = [each.result(timeout=60) for each in (first, twin)]
    assert both == [(KeptAnswer(201, "{}"), False), (KeptAnswer(201, "{}"), True)]


def test_twins_wait_without_connections_and_few_of_them(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    request, may_end, began = RequestKey(DEFAULT_TENANT, "k-1", DIGEST), Event(), Event()

    def make(_: object) -> tuple[KeptAnswer, KeptAnswer]:
        began.set()
        assert may_end.wait(60)
        return (KeptAnswer(201, "{}"),) * 2

    def ask() -> tuple[KeptAnswer, bool] | None:
        try:
            return answer_once(api.sessions, request, make)
        except InProgress:
            return None

    monkeypatch.setattr(answers, "TWIN_WAITS", timedelta(seconds=60))
    with ThreadPoolExecutor(answers.WAITING_TWINS + 3) as threads:
        asked = [threads.submit(ask)]
        assert began.wait(60)
        asked += [threads.submit(ask) for _ in range(answers.WAITING_TWINS + 2)]
        try:
            wait_until(lambda: sum(each.done() for each in asked) == 2, "the refusal of all twins but four")
            assert api.sessions().get_bind().pool.checkedout() == 1  # type: ignore[union-attr]
        finally:
            may_end.set()
        repeats = [found[1] for each in asked if (found := each.result(timeout=60))]
    assert sorted(repeats) == [False] + [True] * answers.WAITING_TWINS


def test_a_twin_is_refused_if_the_first_in_its_process_is_slow(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    request = RequestKey(DEFAULT_TENANT, "k-1", DIGEST)
    monkeypatch.setattr(answers, "TWIN_WAITS", timedelta(milliseconds=50))

    def make(_: object) -> tuple[KeptAnswer, KeptAnswer]:
        twin = push(api, "k-1")
        assert (twin.status_code, twin.headers["retry-after"]) == (409, "2")
        return (KeptAnswer(201, "{}"),) * 2

    assert answer_once(api.sessions, request, make) == (KeptAnswer(201, "{}"), False)


def test_only_the_reservation_has_the_short_lock_timeout(api: Api) -> None:
    with transaction(api.sessions) as session:
        assert answered.reserve_key(session, RequestKey(DEFAULT_TENANT, "k-1", DIGEST)) is None
        assert session.execute(text("SHOW lock_timeout")).scalar_one() == LOCK_TIMEOUT


def test_a_twin_of_a_failure_is_carried_out_itself(api: Api) -> None:
    request = RequestKey(DEFAULT_TENANT, "k-1", DIGEST)
    with pytest.raises(ZeroDivisionError):
        answer_once(api.sessions, request, lambda _: 1 / 0)
    assert answer_once(api.sessions, request, lambda _: (KeptAnswer(201, "{}"),) * 2)[1] is False


def test_a_twin_is_refused_if_the_first_takes_too_long(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = statement(answered._RESERVE.text.replace("'2s'", "'50ms'"))
    assert hasty.text != answered._RESERVE.text
    monkeypatch.setattr(answered, "_RESERVE", hasty)
    with transaction(api.sessions) as first:
        answered.reserve_key(first, RequestKey(DEFAULT_TENANT, "k-1", DIGEST))
        twin = push(api, "k-1")
        assert (twin.status_code, twin.headers["retry-after"]) == (409, "2")
        first.rollback()
    assert push(api, "k-1").status_code == 201


def test_a_job_and_its_key_commit_together(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise InProgress("the process dies")

    with monkeypatch.context() as patched:
        patched.setattr(transitions.answered, "keep_answer", die)
        assert push(api, "k-1").status_code == 409
    assert (count(api, "job"), count(api, "idempotent_request")) == (0, 0)


def test_a_kept_answer_lacks_the_secret(api: Api) -> None:
    scope = {"type": "http", "method": "POST", "path": "/v1/keys", "headers": [], "app": api.app}
    once = Once(Request(scope), act_locally("tests"), "k-1")
    made, secret = Made(BatchWarning(message="hush", jobs=3), 201), frozenset({"message"})
    shown = [once.answer(lambda _: made, secret=secret) for _ in range(2)]
    assert [each.body for each in shown] == [b'{"message":"hush","jobs":3}', b'{"message":null,"jobs":3}']


def reserve(api: Api, **changes: Any) -> httpx.Response:
    return api.client.post("/v1/jobs", json=new_job(client_ref="R-1", on_conflict="return", **changes))


def test_a_job_with_the_same_reference_is_returned(api: Api) -> None:
    first, again = reserve(api, metadata={"scene": 3}), reserve(api, priority=9)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {**first.json(), "warnings": []}
    assert again.headers["location"] == first.headers["location"]


def test_a_reference_without_on_conflict_makes_another_job(api: Api) -> None:
    older = api.push(client_ref="R-1")
    newer = api.push(client_ref="R-1")
    assert older["id"] != newer["id"] == reserve(api).json()["id"]


def test_a_job_of_a_batch_is_found_by_its_reference(api: Api) -> None:
    api.push_batch("night", [new_job(client_ref="R-1")])
    assert (reserve(api).status_code, reserve(api).json()["batch"]) == (200, "night")


def test_another_tenants_job_is_not_found_by_its_reference(api: Api) -> None:
    reserve(api)
    with transaction(api.sessions) as session:
        key = add_key(session, Scope.PUSH, tenant_id=add_tenant(session, "acme"))
    body = new_job(client_ref="R-1", on_conflict="return")
    assert api.client.post("/v1/jobs", json=body, headers=bearing(key)).status_code == 201


def test_pushes_with_one_reference_at_once_make_one_job(api: Api) -> None:
    with ThreadPoolExecutor(16) as threads:
        pushed = [each.result(timeout=60) for each in [threads.submit(reserve, api) for _ in range(16)]]
    assert sorted(each.status_code for each in pushed) == [200] * 15 + [201]
    assert len({each.json()["id"] for each in pushed}) == 1


@pytest.mark.parametrize(
    ("body", "field"), [({"on_conflict": "return"}, "on_conflict"), ({"on_conflict": "skip"}, "on_conflict")]
)
def test_on_conflict_needs_a_reference_and_a_known_value(api: Api, body: Json, field: str) -> None:
    refused = api.client.post("/v1/jobs", json=new_job(**body))
    assert (refused.status_code, set(fields_of(refused))) == (422, {field})


def test_on_conflict_is_refused_in_a_batch(api: Api) -> None:
    job = new_job(client_ref="R-1", on_conflict="return")
    refused = api.client.post("/v1/batches", json={"name": "night", "jobs": [job]})
    assert set(fields_of(refused)) == {"jobs.0.on_conflict"}
