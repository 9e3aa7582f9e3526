"""Who may call what: keys, scopes, and tenants that see only their own."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.access import Guard
from models import DEFAULT_TENANT, Scope
from models.db.session import transaction
from rushes.access import callers
from rushes.access.callers import Need
from rushes.access.keys import make_key
from tests.support import rows
from tests.support.access import KEY, add_key, add_tenant, bearing
from tests.support.api_server import Api, Json, new_job
from tests.support.videos import picture

OPEN = {"/healthz", "/readyz", "/docs", "/", "/v1/hooks/wavespeed/{token}"}
NEEDS = {
    "POST /v1/jobs": callers.PUSH,
    "GET /v1/jobs": callers.READ,
    "GET /v1/jobs/{job_id:job}": callers.READ,
    "GET /v1/jobs/{job_id:job}/events": callers.READ,
    "POST /v1/jobs/{job_id:job}/cancel": callers.CHANGE,
    "POST /v1/jobs/{job_id:job}/retry": callers.CHANGE,
    "POST /v1/jobs/{job_id:job}/recheck": callers.CHANGE,
    "GET /v1/jobs/{job_id:job}/video": callers.READ,
    "GET /v1/jobs/{job_id:job}/poster": callers.READ,
    "GET /v1/jobs/{job_id:job}/unverified": callers.READ,
    "HEAD /v1/jobs/{job_id:job}/video": callers.READ,
    "HEAD /v1/jobs/{job_id:job}/poster": callers.READ,
    "HEAD /v1/jobs/{job_id:job}/unverified": callers.READ,
    "GET /v1/predictions/{prediction_id}/video": callers.READ,
    "GET /v1/predictions/{prediction_id}/unverified": callers.READ,
    "HEAD /v1/predictions/{prediction_id}/video": callers.READ,
    "HEAD /v1/predictions/{prediction_id}/unverified": callers.READ,
    "GET /v1/failures": callers.READ,
    "POST /v1/estimate": callers.PUSH,
    "POST /v1/batches": callers.PUSH,
    "GET /v1/batches": callers.READ,
    "GET /v1/batches/{name}": callers.READ,
    "GET /v1/batches/{name}/events": callers.READ,
    "POST /v1/batches/{name}/jobs": callers.PUSH,
    "POST /v1/batches/{name}/seal": callers.PUSH,
    "DELETE /v1/batches/{name}": callers.CHANGE,
    "GET /v1/events": callers.READ,
    "GET /v1/events/stream": callers.READ,
    "POST /v1/prune": callers.OPERATE,
    "POST /v1/actions": callers.CHANGE,
    "GET /v1/actions": callers.READ,
    "GET /v1/actions/{action_id}": callers.READ,
    "GET /v1/actions/{action_id}/items": callers.READ,
    "POST /v1/actions/{action_id}/abort": callers.CHANGE,
    "POST /v1/uploads": callers.PUSH,
    "GET /v1/uploads/{sha256}": callers.PUSH,
    "GET /v1/unconfirmed": callers.OBSERVE,
    "POST /v1/predictions/{prediction_id}/adopt": callers.OPERATE,
    "POST /v1/predictions/{prediction_id}/dismiss": callers.OPERATE,
    "POST /v1/predictions/{prediction_id}/abandon": callers.OPERATE,
    "GET /v1/account": callers.OBSERVE,
    "POST /v1/account/pause": callers.OPERATE,
    "POST /v1/account/resume": callers.OPERATE,
    "POST /v1/account/retry": callers.OPERATE,
    "POST /v1/account/accept-store": callers.OPERATE,
    "GET /v1/catalog": callers.ANY_KEY,
    "GET /v1/me": callers.ANY_KEY,
    "GET /v1/tenants": callers.ADMIN,
    "POST /v1/tenants": callers.ADMIN,
    "POST /v1/tenants/{name}/{change}": callers.ADMIN,
    "GET /v1/keys": callers.ADMIN,
    "POST /v1/keys": callers.ADMIN,
    "POST /v1/keys/{key_id}/rotate": callers.ADMIN,
    "POST /v1/keys/{key_id}/revoke": callers.ADMIN,
    "GET /v1/audit-log": callers.OBSERVE,
    "GET /v1/endpoints": callers.READ,
    "POST /v1/endpoints": callers.ADD_ENDPOINT,
    "GET /v1/endpoints/{endpoint_id}": callers.READ,
    "POST /v1/endpoints/{endpoint_id}/rotate": callers.CHANGE_ENDPOINT,
    "POST /v1/endpoints/{endpoint_id}/test": callers.CHANGE_ENDPOINT,
    "POST /v1/endpoints/{endpoint_id}/{change}": callers.CHANGE_ENDPOINT,
    "DELETE /v1/endpoints/{endpoint_id}": callers.CHANGE_ENDPOINT,
    "GET /v1/deliveries": callers.READ,
    "GET /v1/deliveries/{delivery_id}": callers.READ,
    "POST /v1/deliveries/{delivery_id}/resend": callers.CHANGE_ENDPOINT,
    "GET /metrics": callers.OBSERVE,
}
"""Every route that needs a key, and what the key must allow."""


class Films(NamedTuple):
    """A second tenant with a job of its own, in a batch that has the name of one of the first tenant."""

    tenant_id: UUID
    key: str
    job_id: str
    batch_id: str
    prediction_id: str
    action_id: str


@pytest.fixture
def films(api: Api) -> Films:
    with transaction(api.sessions) as session:
        tenant_id = add_tenant(session, "Films")
        key = add_key(session, Scope.PUSH, Scope.READ, tenant_id=tenant_id)
        render = rows.add_render(session, "completed")
        rows.change(session, "job", render.job_id, tenant_id=tenant_id)
        action = {"kind": "pause", "chosen": {}, "requested_by": "x", "matched": 1, "cost": "1", "tenant_id": tenant_id}
        action_id = rows.insert(session, "action", **action)
    mine = api.push_batch("pilot", [new_job()])
    theirs = ask(api, key, "POST", "/v1/batches", json={"name": "Pilot", "jobs": [new_job(), new_job()]}).json()
    assert mine["id"] != theirs["id"]
    return Films(tenant_id, key, str(render.job_id), theirs["id"], str(render.prediction_id), str(action_id))


def ask(api: Api, key: str | None, method: str, path: str, **request: object) -> httpx.Response:
    headers = {"Authorization": ""} if key is None else bearing(key)
    return api.client.request(method, path, headers=headers, **request)  # type: ignore[arg-type]


def list_guarded(app: FastAPI) -> Iterator[tuple[str, str, Need | None]]:
    """Method, path and need of every route."""
    included = [each.original_router.routes for each in app.routes if hasattr(each, "original_router")]
    assert len(included) > 9
    for route in chain(app.routes, *included):
        if isinstance(route, APIRoute):
            needs = [each.dependency.need for each in route.dependencies if isinstance(each.dependency, Guard)]
            for method in sorted(route.methods):
                yield method, route.path, needs[0] if needs else None


def test_every_route_declares_what_it_needs(api: Api) -> None:
    found = {f"{method} {path}": need for method, path, need in list_guarded(api.app) if path not in OPEN}
    assert found == NEEDS


def fill_in(path: str) -> str:
    for name, value in {"job_id:job": uuid4(), "name": "pilot", "change": "disable", "sha256": "0" * 64}.items():
        path = path.replace(f"{{{name}}}", str(value))
    return re.sub(r"\{(prediction|action|key)_id\}", str(uuid4()), path)


@pytest.fixture
def bad_keys(api: Api) -> list[str | None]:
    """Keys that must open nothing."""
    with transaction(api.sessions) as session:
        gone = add_tenant(session, "gone")
        rows.change(session, "tenant", gone, disabled_at=rows.NOW)
        return [
            None,
            "nonsense",
            KEY[:-1] + ("a" if KEY[-1] != "a" else "b"),
            add_key(session, *Scope, revoked_at=rows.NOW),
            add_key(session, *Scope, expires_at=-rows.SECOND),
            add_key(session, *Scope, tenant_id=gone),
            make_key(),
        ]


def test_a_key_that_is_not_accepted_opens_no_route(api: Api, bad_keys: list[str | None]) -> None:
    for method, path, need in list_guarded(api.app):
        if need is None:
            continue
        for key in bad_keys:
            answer = ask(api, key, method, fill_in(path))
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="rushes"'), path


def test_a_refusal_names_the_missing_scope(api: Api) -> None:
    with transaction(api.sessions) as session:
        alone = {scope: add_key(session, scope) for scope in Scope}
    for method, path, need in list_guarded(api.app):
        for scope, key in alone.items():
            if need is None or need == callers.ANY_KEY or scope in (need.own, *need.every):
                continue
            answer = ask(api, key, method, fill_in(path))
            assert answer.status_code == 403, (path, scope)
            if method != "HEAD":
                assert f"with the scope {need}; the scopes of this key: {scope}" in answer.json()["detail"]


def test_health_is_open_and_its_details_are_not(api: Api) -> None:
    with transaction(api.sessions) as session:
        observer, pusher = add_key(session, Scope.OBSERVE), add_key(session, Scope.PUSH)
    assert ask(api, None, "GET", "/healthz").status_code == 200
    for key in (None, pusher):
        assert ask(api, key, "GET", "/readyz").json() == {"status": "ready"}
    assert ask(api, observer, "GET", "/readyz").json()["database"] == "ok"
    assert ask(api, "nonsense", "GET", "/readyz").status_code == 401


def test_the_key_may_come_in_a_header_of_its_own(api: Api) -> None:
    headers = {"Authorization": "Basic cHJveHk6bG9naW4=", "X-Api-Key": KEY}
    answer = api.client.get("/v1/me", headers=headers)
    assert answer.status_code == 200, answer.text
    seen = answer.json()
    assert seen["tenant"] == "default"
    assert seen["tenant_id"] == str(DEFAULT_TENANT)
    assert (seen["name"], seen["scopes"]) == ("default/tests", [each.value for each in Scope])


def list_paths_of(films: Films) -> list[tuple[str, str, Json | None]]:
    job, batch = f"/v1/jobs/{films.job_id}", f"/v1/batches/{films.batch_id}"
    reads = [job, f"{job}/events", f"{job}/video", batch, f"{batch}/events", f"/v1/jobs/{films.batch_id}/1"]
    reads += [f"/v1/predictions/{films.prediction_id}/video", f"/v1/actions/{films.action_id}"]
    reads += [f"/v1/actions/{films.action_id}/items", f"/v1/jobs?batch={films.batch_id}"]
    writes = [f"{job}/cancel", f"{job}/retry", f"{job}/recheck", f"/v1/actions/{films.action_id}/abort"]
    return [
        *(("GET", path, None) for path in [*reads, "/v1/jobs/Films:pilot/1", "/v1/batches/Films:pilot"]),
        *(("POST", path, None) for path in writes),
        ("POST", "/v1/actions", {"kind": "cancel", "filter": {"batch": films.batch_id}}),
        ("POST", "/v1/actions", {"kind": "cancel", "filter": {"tenant": "Films", "state": ["queued"]}}),
        ("DELETE", batch, None),
    ]


def test_another_tenants_rows_are_not_found(api: Api, films: Films) -> None:
    with transaction(api.sessions) as session:
        key = add_key(session, Scope.PUSH, Scope.READ)
    for method, path, body in list_paths_of(films):
        answer = ask(api, key, method, path, json=body)
        assert answer.status_code == 404, (method, path, answer.text)


def test_a_list_shows_only_the_callers_tenant(api: Api, films: Films) -> None:
    def count(key: str, path: str, **query: str) -> int:
        return len(ask(api, key, "GET", path, params=query).raise_for_status().json()["items"])

    with transaction(api.sessions) as session:
        mine, observer = add_key(session, Scope.READ), add_key(session, Scope.OBSERVE)
    for path, counts in {"/v1/jobs": (1, 3, 4), "/v1/batches": (1, 1, 2), "/v1/actions": (0, 1, 1)}.items():
        assert tuple(count(key, path) for key in (mine, films.key, observer)) == counts, path
    assert count(observer, "/v1/jobs", tenant="films") == 3
    assert count(mine, "/v1/jobs", ids=films.job_id) == 0


def test_an_action_of_a_tenant_leaves_other_tenants_alone(api: Api, films: Films) -> None:
    with transaction(api.sessions) as session:
        mine, operator = add_key(session, Scope.PUSH), add_key(session, Scope.OPERATE)
    body = {"kind": "cancel", "filter": {"state": ["queued"]}, "dry_run": True}
    matched = [ask(api, key, "POST", "/v1/actions", json=body).json()["matched"] for key in (mine, films.key, operator)]
    assert matched == [1, 2, 3]
    body["filter"] = {"tenant": "default"}
    refused = ask(api, operator, "POST", "/v1/actions", json=body)
    assert refused.status_code == 422  # a tenant alone is no filter


def test_an_action_on_every_tenant_is_seen_only_by_those_who_reach_them(api: Api, films: Films) -> None:
    with transaction(api.sessions) as session:
        mine = add_key(session, Scope.PUSH, Scope.READ)
    body = {"kind": "pause", "filter": {"state": ["queued"]}}
    everywhere = ask(api, KEY, "POST", "/v1/actions", json=body).raise_for_status().json()["id"]
    theirs = {"kind": "pause", "filter": {"tenant": "films", "state": ["queued"]}}
    there = ask(api, KEY, "POST", "/v1/actions", json=theirs).raise_for_status().json()["id"]
    for key, action, statuses in ((mine, everywhere, {404}), (mine, there, {404}), (films.key, there, {200})):
        paths = (("GET", ""), ("GET", "/items"), ("POST", "/abort"))
        assert {ask(api, key, each, f"/v1/actions/{action}{part}").status_code for each, part in paths} == statuses
    assert ask(api, mine, "GET", "/v1/actions").json()["items"] == []
    assert ask(api, KEY, "GET", f"/v1/actions/{everywhere}").status_code == 200


def test_failures_name_the_tenant(api: Api, films: Films) -> None:
    with transaction(api.sessions) as session:
        failed = rows.add_job(session, "failed", tenant_id=films.tenant_id)
    (group,) = api.client.get("/v1/failures").json()["items"]
    assert [(each["id"], each["tenant"]) for each in group["samples"]] == [(str(failed), "Films")]


def test_a_name_means_the_callers_own_batch(api: Api, films: Films) -> None:
    with transaction(api.sessions) as session:
        observer = add_key(session, Scope.OBSERVE)
    own = ask(api, films.key, "GET", "/v1/batches/pilot").json()
    assert (own["id"], own["tenant"], own["jobs"]) == (films.batch_id, "Films", 2)
    assert own["folder"].endswith("/artifacts/@Films/Pilot")
    seen = [ask(api, observer, "GET", f"/v1/batches/{name}").json() for name in ("pilot", "films:pilot")]
    assert [(each["tenant"], each["jobs"]) for each in seen] == [("default", 1), ("Films", 2)]
    assert seen[0]["folder"].endswith("/artifacts/pilot")


def test_the_same_push_of_two_tenants_is_two_batches(api: Api, films: Films) -> None:
    body = {"name": "again", "jobs": [new_job()], "on_repeat": "same_jobs"}
    pushed = [ask(api, key, "POST", "/v1/batches", json=body) for key in (KEY, films.key, films.key)]
    assert [(each.status_code, each.json()["name"]) for each in pushed] == [
        (200, "pilot"),
        (201, "again"),
        (200, "again"),
    ]


def test_an_upload_is_used_only_by_those_who_sent_it(api: Api, films: Films) -> None:
    content = picture()
    kind = {"Content-Type": "image/png"}
    kept = api.client.post("/v1/uploads", content=content, headers=kind).raise_for_status().json()
    assert ask(api, films.key, "GET", f"/v1/uploads/{kept['sha256']}").status_code == 404
    job = {"model": "ltx-2-fast-i2v", "input": {"prompt": "a fox", "image": kept["reference"]}}
    assert ask(api, films.key, "POST", "/v1/jobs", json=job).status_code == 422
    api.client.post("/v1/uploads", content=content, headers={**kind, **bearing(films.key)}).raise_for_status()
    assert ask(api, films.key, "POST", "/v1/jobs", json=job).status_code == 201
