"""Tenants and keys over HTTP: made, replaced, refused, and never all of them taken away."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import event

from models import DEFAULT_TENANT, Scope, queries, transitions
from models.db.session import open_engine, open_sessions, transaction
from rushes.access.callers import KeyRing
from rushes.access.keys import digest_key, hint_at, is_well_formed, make_key
from rushes.access.tenants import bootstrap_key, ensure_key
from rushes.errors import Conflict
from rushes.settings import API_KEY_FILE
from stack.data_folder import ensure_api_key
from stack.processes import default_settings
from tests.support import rows
from tests.support.access import KEY, add_key, add_tenant, bearing
from tests.support.api_server import Api, Json, fields_of
from tests.support.locks import wait_for_a_blocked_statement

NEW = {"tenant": "acme", "name": "nightly", "scopes": ["read", "push"]}
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process remembers keys for two seconds. Here it does not, so that no test waits."""
    monkeypatch.setattr("rushes.access.callers.KEY_CACHED_SECONDS", 0)


@pytest.fixture
def acme(api: Api) -> Json:
    return post(api, "tenants", body={"name": "acme"}).raise_for_status().json()


def post(api: Api, *path: object, body: Any = None, key: str = KEY) -> httpx.Response:
    return api.client.post("/v1/" + "/".join(map(str, path)), json=body, headers=bearing(key))


def list_keys(api: Api, **query: Any) -> list[Json]:
    found: list[Json] = api.client.get("/v1/keys", params=query).raise_for_status().json()["items"]
    return found


def make(api: Api, **changes: Any) -> Json:
    answer = post(api, "keys", body=NEW | changes)
    assert answer.headers["cache-control"] == "no-store"
    made: Json = answer.raise_for_status().json()
    return made


def find_me(api: Api, key: str) -> httpx.Response:
    return api.client.get("/v1/me", headers=bearing(key))


def find_own_key(api: Api) -> str:
    """The id of the key that the client sends."""
    return str(find_me(api, KEY).json()["key_id"])


def test_a_tenant_is_created_once_whatever_the_case_of_its_name(api: Api, acme: Json) -> None:
    assert (acme["name"], acme["disabled_at"]) == ("acme", None)
    again = post(api, "tenants", body={"name": "ACME"})
    assert (again.status_code, again.json()["detail"].split(";")[0]) == (409, "a tenant named 'ACME' exists already")
    names = [each["name"] for each in api.client.get("/v1/tenants").json()["items"]]
    assert names == ["default", "acme"]


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "@acme", "a b", "ä", "a" * 41, "a\0"])
def test_a_name_that_is_no_folder_name_is_refused(api: Api, name: str) -> None:
    refused = post(api, "tenants", body={"name": name})
    assert (refused.status_code, list(fields_of(refused))) == (422, ["name"])


def test_a_new_key_works_for_its_tenant_and_scopes(api: Api, acme: Json) -> None:
    made = make(api)
    assert is_well_formed(made["key"])
    assert (made["hint"], made["status"], made["expires_at"]) == (hint_at(made["key"]), "usable", None)
    me = find_me(api, made["key"]).json()
    assert (me["tenant"], me["key_id"], me["name"], me["scopes"]) == (
        "acme",
        made["id"],
        "acme/nightly",
        ["push", "read"],
    )
    (listed,) = list_keys(api, tenant="acme")
    assert listed["last_used_at"] is not None
    assert listed == {name: made[name] for name in listed} | {"last_used_at": listed["last_used_at"]}


def test_a_repeated_request_makes_one_key_and_shows_it_once(api: Api, acme: Json) -> None:
    once = {"Idempotency-Key": "make-1", **bearing(KEY)}
    first, again = (api.client.post("/v1/keys", json=NEW, headers=once) for _ in range(2))
    assert (first.status_code, again.status_code, again.headers["cache-control"]) == (201, 201, "no-store")
    assert is_well_formed(first.json()["key"])
    assert again.json() == {**first.json(), "key": None}
    assert len(list_keys(api, tenant="acme")) == 1
    rotate = f"/v1/keys/{first.json()['id']}/rotate"
    turned = [api.client.post(rotate, json={}, headers={**once, "Idempotency-Key": "turn-1"}) for _ in range(2)]
    assert turned[1].json() == {**turned[0].json(), "key": None}
    assert len(list_keys(api, tenant="acme")) == 2


def test_a_key_is_stored_only_as_its_digest(api: Api, acme: Json) -> None:
    made = make(api)
    with transaction(api.sessions) as session:
        row = rows.read(session, "api_key", made["id"])
    assert row["sha256"] == digest_key(made["key"])
    assert made["key"] not in str(row)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 61}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes.0"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2099-01-01T00:00:00"}, "expires_at"),
        ({"key": "rsh_live_mine"}, "key"),
    ],
)
def test_a_wrong_key_order_is_refused_by_field(api: Api, acme: Json, changes: Json, field: str) -> None:
    refused = post(api, "keys", body=NEW | changes)
    assert (refused.status_code, list(fields_of(refused))) == (422, [field])


@pytest.mark.parametrize("name", ["nobody", "a\0b", ""])
def test_an_unknown_tenant_is_not_found(api: Api, name: str) -> None:
    assert post(api, "keys", body=NEW | {"tenant": name}).status_code == 404
    assert api.client.get("/v1/keys", params={"tenant": name}).status_code == 404
    if name == "nobody":
        assert post(api, "tenants", name, "disable").status_code == 404


def test_a_disabled_tenant_s_keys_are_refused_until_it_is_enabled(api: Api, acme: Json) -> None:
    made = make(api)
    disabled = post(api, "tenants", "Acme", "disable").raise_for_status().json()
    assert disabled["disabled_at"] is not None
    refused = find_me(api, made["key"])
    assert (refused.status_code, refused.json()["detail"]) == (401, "tenant 'acme' is disabled")
    assert list_keys(api, tenant="acme")[0]["status"] == "disabled"
    assert post(api, "tenants", "acme", "disable").status_code == 409
    assert post(api, "tenants", "acme", "enable").raise_for_status().json()["disabled_at"] is None
    assert find_me(api, made["key"]).status_code == 200
    assert post(api, "tenants", "acme", "enable").json()["detail"] == "tenant 'acme' is enabled already"


def test_a_revoked_key_is_refused(api: Api, acme: Json) -> None:
    made = make(api)
    revoked = post(api, "keys", made["id"], "revoke").raise_for_status().json()
    assert (revoked["status"], "key" in revoked) == ("revoked", False)
    refused = find_me(api, made["key"])
    assert refused.status_code == 401
    assert refused.json()["detail"].startswith("this API key was revoked at ")
    assert post(api, "keys", made["id"], "revoke").status_code == 409
    assert post(api, "keys", made["id"], "rotate", body={}).status_code == 409


def test_a_revoked_key_that_is_remembered_works_for_two_seconds_at_most(
    api: Api, acme: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("rushes.access.callers.KEY_CACHED_SECONDS", 2.0)
    monkeypatch.setattr("rushes.access.callers.time.monotonic", lambda: now)
    made = make(api)
    assert find_me(api, made["key"]).status_code == 200
    post(api, "keys", made["id"], "revoke").raise_for_status()
    now += 1.9
    assert find_me(api, made["key"]).status_code == 200
    now += 0.2
    assert find_me(api, made["key"]).status_code == 401


def test_an_expired_key_is_refused(api: Api) -> None:
    with transaction(api.sessions) as session:
        key = add_key(session, Scope.READ, expires_at=-rows.SECOND)
    refused = find_me(api, key)
    assert refused.status_code == 401
    assert refused.json()["detail"].startswith("this API key expired at ")
    expired = next(each for each in list_keys(api) if each["hint"] == hint_at(key))
    assert expired["status"] == "expired"
    assert post(api, "keys", expired["id"], "rotate", body={}).status_code == 409


def test_a_rotated_key_works_until_the_overlap_ends(api: Api, acme: Json) -> None:
    old = make(api)
    new = post(api, "keys", old["id"], "rotate", body={}).raise_for_status().json()
    assert {name: new[name] for name in ("tenant", "name", "scopes", "expires_at")} == {
        name: old[name] for name in ("tenant", "name", "scopes", "expires_at")
    }
    left = datetime.fromisoformat(new["old_expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left < timedelta(hours=25)
    assert [find_me(api, each["key"]).status_code for each in (old, new)] == [200, 200]


def test_a_key_rotated_without_an_overlap_ends_at_once(api: Api, acme: Json) -> None:
    old = make(api)
    new = post(api, "keys", old["id"], "rotate", body={"overlap": 0}).raise_for_status().json()
    assert [find_me(api, each["key"]).status_code for each in (old, new)] == [401, 200]


def test_a_key_that_expires_before_the_overlap_keeps_its_end(api: Api, acme: Json) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    old = make(api, expires_at=at.isoformat())
    new = post(api, "keys", old["id"], "rotate", body={}).raise_for_status().json()
    assert datetime.fromisoformat(new["old_expires_at"]) == at
    lifetime = datetime.fromisoformat(new["expires_at"]) - datetime.fromisoformat(new["created_at"])
    assert timedelta(minutes=59) < lifetime < timedelta(minutes=61)
    later = at + 10 * DAY
    chosen = post(api, "keys", new["id"], "rotate", body={"expires_at": later.isoformat()}).json()
    assert datetime.fromisoformat(chosen["expires_at"]) == later


LAST = "this would leave no usable key with the scope admin: make another one first"


@pytest.mark.parametrize("take", [("keys", "revoke"), ("tenants", "disable")])
def test_the_last_admin_key_is_not_taken_away(api: Api, take: tuple[str, str]) -> None:
    nouns = {"keys": find_own_key(api), "tenants": "default"}
    with transaction(api.sessions) as session:
        add_key(session, Scope.ADMIN, revoked_at=rows.NOW)
        add_key(session, Scope.ADMIN, expires_at=-rows.SECOND)
        add_key(session, Scope.OPERATE)
        disabled = rows.insert(session, "tenant", name="gone", disabled_at=rows.NOW)
        add_key(session, Scope.ADMIN, tenant_id=disabled)
    refused = post(api, take[0], nouns[take[0]], take[1])
    assert (refused.status_code, refused.json()["detail"]) == (409, LAST)
    assert find_me(api, KEY).status_code == 200
    with transaction(api.sessions) as session:
        add_key(session, Scope.ADMIN, tenant_id=add_tenant(session, "acme"))
    assert post(api, take[0], nouns[take[0]], take[1]).status_code == 200


def test_the_last_admin_key_may_be_rotated_at_once(api: Api) -> None:
    new = post(api, "keys", find_own_key(api), "rotate", body={"overlap": 0}).raise_for_status().json()
    assert find_me(api, KEY).status_code == 401
    assert "admin" in find_me(api, new["key"]).json()["scopes"]


def test_two_admins_cannot_revoke_each_other_at_once(api: Api) -> None:
    with transaction(api.sessions) as session:
        other = add_key(session, *Scope)
    other_id = UUID(find_me(api, other).json()["key_id"])
    with ThreadPoolExecutor(1) as pool:
        with transaction(api.sessions) as session:
            assert transitions.keys.revoke_key(session, other_id)
            assert queries.keys.has_admin(session)
            late = pool.submit(post, api, "keys", find_own_key(api), "revoke")
            wait_for_a_blocked_statement(api.sessions)
        assert (late.result().status_code, late.result().json()["detail"]) == (409, LAST)
    assert find_me(api, KEY).status_code == 200


def test_a_key_that_is_revoked_meanwhile_is_not_rotated(api: Api, acme: Json) -> None:
    made = make(api)
    with ThreadPoolExecutor(1) as pool:
        with transaction(api.sessions) as session:
            assert transitions.keys.revoke_key(session, UUID(made["id"]))
            late = pool.submit(post, api, "keys", made["id"], "rotate", body={})
            wait_for_a_blocked_statement(api.sessions)
        assert late.result().status_code == 409
    assert len(list_keys(api, tenant="acme")) == 1


def test_a_key_is_rotated_once_without_an_overlap(api: Api, acme: Json) -> None:
    made = make(api)
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda _: post(api, "keys", made["id"], "rotate", body={"overlap": 0}), range(2))
        assert sorted(each.status_code for each in answers) == [201, 409]
    assert len(list_keys(api, tenant="acme")) == 2


def test_a_key_is_known_for_minutes_while_the_database_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("rushes.access.callers.time.monotonic", lambda: now)
    ring = KeyRing(api.sessions)
    ring.find(KEY)
    assert ring.recall(KEY) is None
    now += 299
    assert ring.recall(KEY, is_database_away=True) is not None
    now += 2
    assert ring.recall(KEY, is_database_away=True) is None


CALLS: list[Callable[[Api, str], httpx.Response]] = [
    lambda api, key: post(api, "tenants", body={"name": "acme"}, key=key),
    lambda api, key: post(api, "tenants", "default", "disable", key=key),
    lambda api, key: post(api, "tenants", "default", "enable", key=key),
    lambda api, key: post(api, "keys", body=NEW, key=key),
    lambda api, key: post(api, "keys", UUID(int=1), "rotate", body={}, key=key),
    lambda api, key: post(api, "keys", UUID(int=1), "revoke", key=key),
    lambda api, key: api.client.get("/v1/tenants", headers=bearing(key)),
    lambda api, key: api.client.get("/v1/keys", headers=bearing(key)),
]


def test_only_the_scope_admin_manages_tenants_and_keys(api: Api) -> None:
    with transaction(api.sessions) as session:
        key = add_key(session, Scope.PUSH, Scope.READ, Scope.OBSERVE, Scope.OPERATE)
    assert {call(api, key).status_code for call in CALLS} == {403}


def test_a_bootstrap_makes_one_key_unless_forced(api: Api) -> None:
    with pytest.raises(Conflict, match="exists already"):
        bootstrap_key(api.sessions)
    made = bootstrap_key(api.sessions, is_forced=True)
    assert made.key is not None
    assert find_me(api, made.key).json()["scopes"] == [each.value for each in Scope]
    assert made.key not in repr(made)


def test_a_bootstrap_enables_the_tenant_default(api: Api) -> None:
    with transaction(api.sessions) as session:
        rows.change(session, "tenant", DEFAULT_TENANT, disabled_at=rows.NOW)
    made = bootstrap_key(api.sessions)
    assert made.key is not None
    assert find_me(api, made.key).status_code == 200


@pytest.mark.parametrize("end", ["revoked_at", "expires_at"])
def test_a_stored_key_that_is_over_is_not_usable(api: Api, end: str) -> None:
    key = make_key()
    assert [ensure_key(api.sessions, key, name="rushes up") for _ in range(2)] == [True, True]
    key_id = next(each["id"] for each in list_keys(api) if each["hint"] == hint_at(key))
    with transaction(api.sessions) as session:
        rows.change(session, "api_key", UUID(key_id), **{end: -rows.SECOND})
    assert not ensure_key(api.sessions, key, name="rushes up")


def test_a_data_folder_gets_a_new_key_for_one_that_is_over(api: Api, database_url: str, tmp_path: Path) -> None:
    settings = default_settings(data_dir=tmp_path, database_url=database_url)
    old = ensure_api_key(settings)
    assert ensure_api_key(settings) == old
    post(api, "keys", find_me(api, old).json()["key_id"], "revoke").raise_for_status()
    new = ensure_api_key(settings)
    assert new == ensure_api_key(settings) == (tmp_path / API_KEY_FILE).read_text().strip() != old
    assert find_me(api, new).status_code == 200


def test_a_data_folder_gets_no_key_of_a_disabled_tenant(api: Api, database_url: str, tmp_path: Path) -> None:
    with transaction(api.sessions) as session:
        rows.change(session, "tenant", DEFAULT_TENANT, disabled_at=rows.NOW)
    with pytest.raises(Conflict, match=r"'default' is disabled.*\n.*key bootstrap --force"):
        ensure_api_key(default_settings(data_dir=tmp_path, database_url=database_url))


def test_a_key_works_on_a_read_only_server_and_its_use_is_noted_later(api: Api, acme: Json, database_url: str) -> None:
    made = make(api)
    read_only = open_engine(database_url + "?options=-c%20default_transaction_read_only%3Don", pooler=True)
    try:
        ring = KeyRing(open_sessions(read_only))
        assert [ring.find(made["key"]).tenant for _ in range(2)] == ["acme", "acme"]
    finally:
        read_only.dispose()
    assert list_keys(api, tenant="acme")[0]["last_used_at"] is None
    assert find_me(api, made["key"]).status_code == 200
    assert list_keys(api, tenant="acme")[0]["last_used_at"] is not None


def test_a_use_is_noted_once_a_minute(api: Api, acme: Json, database_url: str) -> None:
    key, statements = make(api)["key"], list[str]()
    engine = open_engine(database_url)
    event.listen(engine, "before_cursor_execute", lambda *seen: statements.append(seen[2].split()[0]))
    try:
        ring = KeyRing(open_sessions(engine))
        for _ in range(3):
            ring.find(key)
    finally:
        engine.dispose()
    assert statements == ["SELECT", "UPDATE", "SELECT", "SELECT"]
