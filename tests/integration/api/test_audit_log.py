"""The audit log: every change by a scope that reaches all tenants has its entry, and no entry or log holds a key."""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from models import Base, Scope, transitions
from models.db.session import transaction
from rushes.access.tenants import bootstrap_key, ensure_key
from rushes.runtime import ACCOUNT
from tests.support import rows
from tests.support.access import KEY, KEY_NAME, add_key, bearing
from tests.support.api_server import Api, Json, fields_of
from tests.support.rows import DAY, NOW

BY = f"default/{KEY_NAME}"


def post(api: Api, path: str, *, body: Any = None, key: str = KEY) -> Json:
    answer = api.client.post(f"/v1/{path}", json=body, headers=bearing(key))
    shown: Json = answer.raise_for_status().json()
    return shown


def list_entries(api: Api, **query: Any) -> list[Json]:
    found: list[Json] = api.client.get("/v1/audit-log", params=query).raise_for_status().json()["items"]
    return found


def add(api: Api, state: str, **columns: Any) -> UUID:
    """A job in this state."""
    with transaction(api.sessions) as session:
        return rows.add_job(session, state, **columns)


def buy(api: Api, state: str, **columns: Any) -> rows.Render:
    with transaction(api.sessions) as session:
        account = transitions.accounts.ensure_account(session, ACCOUNT, slots=2, submits_per_minute=2)
        return rows.add_render(session, state, account_id=account, **columns)


def add_unverified(api: Api) -> UUID:
    render = buy(api, "completed")
    with transaction(api.sessions) as session:
        rows.change(session, "job", render.job_id, state="failed", error_code="output_unverified", ended_at=NOW)
        rows.change(session, "prediction", render.prediction_id, due_at=None)
        rows.add_artifact(session, render.job_id, render.prediction_id, kind="unverified")
    return render.job_id


def add_batch(api: Api) -> str:
    with transaction(api.sessions) as session:
        batch = rows.insert(session, "batch", name="pilot", job_count=1)
        rows.add_job(session, "cancelled", batch_id=batch, number=1)
    return str(batch)


def start_action(api: Api) -> str:
    add(api, "queued")
    return str(post(api, "actions", body={"kind": "pause", "filter": {"state": ["queued"]}})["id"])


class Case(NamedTuple):
    """A request, and the entry that it leaves; `setup` returns what the path names."""

    action: str
    path: str
    setup: Callable[[Api], Any]
    body: Any = None
    before: Json | None = None
    after: Json | None = None


UNPAUSED = {"paused_reason": None, "person_paused_by": None}
CASES = [
    Case(
        "account.pause",
        "account/pause",
        lambda api: buy(api, "rendering"),
        None,
        UNPAUSED,
        {**UNPAUSED, "paused_reason": "person"},
    ),
    Case(
        "job.cancel",
        "jobs/{}/cancel",
        lambda api: add(api, "queued"),
        None,
        {"state": "queued"},
        {"state": "cancelled"},
    ),
    Case("job.retry", "jobs/{}/retry", lambda api: add(api, "failed"), None, {"state": "failed"}, {"state": "queued"}),
    Case("job.recheck", "jobs/{}/recheck", add_unverified, None, {"state": "failed"}, {"state": "storing"}),
    Case(
        "prediction.adopt",
        "predictions/{}/adopt",
        lambda api: buy(api, "unconfirmed", posted_at=-DAY).prediction_id,
        {"provider_id": "task-7"},
        {"state": "unconfirmed", "provider_id": None},
        {"state": "rendering", "provider_id": "task-7"},
    ),
    Case(
        "prediction.dismiss",
        "predictions/{}/dismiss",
        lambda api: buy(api, "unconfirmed", posted_at=-DAY).prediction_id,
        None,
        {"state": "unconfirmed"},
        {"state": "not_found"},
    ),
    Case(
        "prediction.abandon",
        "predictions/{}/abandon",
        lambda api: buy(api, "rendering", watch_windows=1).prediction_id,
        {"accept_double_cost": True},
        {"state": "rendering"},
        {"state": "lost"},
    ),
    Case("jobs.prune", "prune", lambda _: "all", {"older_than_days": 90}, None, {"older_than_days": 90.0}),
    Case(
        "action.request",
        "actions",
        lambda api: add(api, "queued"),
        {"kind": "priority", "filter": {"state": ["queued"]}, "priority": 7},
        None,
        {"kind": "priority", "arguments": {"priority": 7}, "jobs": 1},
    ),
    Case(
        "action.abort", "actions/{}/abort", start_action, None, {"state": "running"}, {"state": "aborted", "changed": 0}
    ),
    Case("tenant.create", "tenants", lambda _: "acme", {"name": "acme"}),
    Case(
        "key.create",
        "keys",
        lambda _: None,
        {"tenant": "default", "name": "k", "scopes": ["read"]},
        None,
        {"name": "k", "scopes": ["read"], "expires_at": None},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[each.action for each in CASES])
def test_a_change_that_reaches_every_tenant_has_its_entry(api: Api, case: Case) -> None:
    target = case.setup(api)
    post(api, case.path.format(target), body=case.body)
    entry = list_entries(api)[0]
    assert (entry["action"], entry["by"]) == (case.action, BY)
    assert entry["key_id"] == api.client.get("/v1/me").json()["key_id"]
    for kind, expected in (("before", case.before), ("after", case.after)):
        shown = entry[kind] or {}
        assert (entry[kind] is None) == (expected is None)
        assert shown == {**shown, **(expected or {})}
    if "{}" in case.path:
        assert entry["target"] == str(target)


def test_the_other_decisions_about_the_account_have_entries(api: Api) -> None:
    buy(api, "rendering")
    post(api, "account/retry")
    post(api, "account/pause")
    post(api, "account/resume")
    with transaction(api.sessions) as session:
        rows.change(session, "account", store_marker="a-marker")
    post(api, "account/accept-store")
    shown = [(each["action"], each["target"]) for each in list_entries(api, action="account.")]
    names = ("accept_store", "resume", "pause", "retry")
    assert shown == [(f"account.{name}", ACCOUNT) for name in names]


def test_tenants_and_keys_have_entries_until_the_end(api: Api) -> None:
    post(api, "tenants", body={"name": "acme"})
    key = post(api, "keys", body={"tenant": "acme", "name": "k", "scopes": ["read"]})
    new = post(api, f"keys/{key['id']}/rotate", body={})
    post(api, f"keys/{new['id']}/revoke")
    post(api, "tenants/acme/disable")
    post(api, "tenants/acme/enable")
    entries = list_entries(api)
    names = ["tenant.enable", "tenant.disable", "key.revoke", "key.create", "key.rotate", "key.create", "tenant.create"]
    assert [each["action"] for each in entries] == names
    assert [each["target"] for each in entries[2:5]] == [new["id"], new["id"], key["id"]]
    assert entries[4]["before"] == {"expires_at": None}
    assert entries[4]["after"]["expires_at"] is not None
    assert entries[3]["after"]["hint"] == new["hint"]


def test_a_deleted_batch_has_one_entry(api: Api) -> None:
    batch = add_batch(api)
    for _ in range(2):
        api.client.delete("/v1/batches/pilot").raise_for_status()
    (entry,) = list_entries(api)
    assert (entry["action"], entry["target"]) == ("batch.delete", batch)
    assert entry["before"] == {"batch": "pilot", "deleted_at": None}
    assert entry["after"]["deleted_at"] == api.client.get("/v1/batches/pilot").json()["deleted_at"]


def test_keys_made_on_the_database_have_entries_without_a_key(api: Api) -> None:
    made = bootstrap_key(api.sessions, is_forced=True)
    for _ in range(2):
        ensure_key(api.sessions, "rsh_live_any", name="rushes up")
    up, first = list_entries(api, action="key.bootstrap")
    assert (first["by"], first["target"], first["key_id"], first["tenant_id"]) == (
        "bootstrap",
        str(made.row.id),
        None,
        None,
    )
    assert (up["by"], up["after"]["name"]) == ("rushes up", "rushes up")


def test_a_change_to_one_s_own_tenant_has_no_entry(api: Api) -> None:
    with transaction(api.sessions) as session:
        key = add_key(session, Scope.PUSH, Scope.READ)
    post(api, f"jobs/{add(api, 'queued')}/cancel", key=key)
    post(api, f"jobs/{add(api, 'failed')}/retry", key=key)
    post(api, "actions", body={"kind": "cancel", "filter": {"state": ["queued"]}}, key=key)
    assert list_entries(api) == []


def test_a_refused_change_or_a_dry_run_has_no_entry(api: Api) -> None:
    render = buy(api, "rendering")
    assert api.client.post("/v1/account/resume").status_code == 409
    assert api.client.post(f"/v1/jobs/{render.job_id}/retry").status_code == 409
    assert api.client.post(f"/v1/predictions/{render.prediction_id}/dismiss").status_code == 409
    assert api.client.post(f"/v1/keys/{api.client.get('/v1/me').json()['key_id']}/revoke").status_code == 409
    post(api, "actions", body={"kind": "cancel", "filter": {"state": ["rendering"]}, "dry_run": True})
    post(api, "prune", body={"older_than_days": 90, "dry_run": True})
    action = start_action(api)
    for _ in range(2):
        post(api, f"actions/{action}/abort")
    assert [each["action"] for each in list_entries(api)] == ["action.abort", "action.request"]


def test_entries_are_paged_newest_first_and_filtered(api: Api) -> None:
    with transaction(api.sessions) as session:
        other = add_key(session, Scope.ADMIN, name="other")
    for name in ("a", "b", "c"):
        post(api, "tenants", body={"name": name}, key=other if name == "c" else KEY)
    post(api, "tenants/a/disable")
    page = api.client.get("/v1/audit-log", params={"limit": 3}).json()
    rest = api.client.get("/v1/audit-log", params={"limit": 3, "cursor": page["next_cursor"]}).json()
    assert [each["target"] for each in page["items"] + rest["items"]] == ["a", "c", "b", "a"]
    assert rest["next_cursor"] is None
    assert [each["action"] for each in list_entries(api, target="a")] == ["tenant.disable", "tenant.create"]
    assert [each["target"] for each in list_entries(api, action="tenant.create")] == ["c", "b", "a"]
    me = api.client.get("/v1/me", headers=bearing(other)).json()
    assert [(each["target"], each["by"]) for each in list_entries(api, key_id=me["key_id"])] == [("c", "default/other")]
    assert len(list_entries(api, since=(datetime.now(UTC) - timedelta(hours=1)).isoformat())) == 4
    assert list_entries(api, since=(datetime.now(UTC) + timedelta(hours=1)).isoformat()) == []
    assert list_entries(api, action="tenant_create") == []  # an underscore is no wildcard


@pytest.mark.parametrize(
    "query",
    [{"action": "x%"}, {"target": "a\0"}, {"since": "yesterday"}, {"key_id": "k"}, {"cursor": "?"}, {"by": "x"}],
)
def test_a_wrong_filter_is_refused_by_field(api: Api, query: dict[str, str]) -> None:
    refused = api.client.get("/v1/audit-log", params=query)
    assert (refused.status_code, list(fields_of(refused))) == (422, list(query))


def test_the_log_needs_a_scope_that_observes_every_tenant(api: Api) -> None:
    with transaction(api.sessions) as session:
        keys = {scope: add_key(session, scope) for scope in Scope}
    allowed = {scope for scope, key in keys.items() if api.client.get("/v1/audit-log", headers=bearing(key)).is_success}
    assert allowed == {Scope.OBSERVE, Scope.OPERATE}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Everything that is logged or printed."""
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logged:
        yield lambda: f"{logged} {caplog.text} {capsys.readouterr()}"


def test_no_key_reaches_a_row_a_log_or_an_error(api: Api, said: Callable[[], str]) -> None:
    made = [post(api, "keys", body={"tenant": "default", "name": name, "scopes": ["push", "read"]}) for name in "ab"]
    made.append(post(api, f"keys/{made[0]['id']}/rotate", body={"overlap": 0}))
    keys = [KEY, *(each["key"] for each in made)]
    answers = [api.client.get(f"/v1/{path}") for path in ("keys", "tenants", "audit-log", "me", "actions")]
    for key in (*keys, f"{KEY[:-1]}x"):
        job = add(api, "queued")
        answers += [
            api.client.post(f"/v1/jobs/{job}/cancel", headers=bearing(key)),
            api.client.post(f"/v1/jobs/{job}/cancel", headers={"X-Api-Key": key}),
            api.client.post("/v1/account/pause", headers=bearing(key)),
            api.client.get(f"/v1/jobs/{job}/events", headers=bearing(key)),
        ]
    with transaction(api.sessions) as session:
        stored = [str(session.execute(select(table)).all()) for table in Base.metadata.sorted_tables]
    places = " ".join([*stored, *(each.text for each in answers), said()])
    assert "audit-log" in places
    assert [key for key in (*keys, KEY[:-1]) if key in places or key[9:30] in places] == []
