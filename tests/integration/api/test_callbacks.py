"""Endpoints and deliveries over HTTP and on the command line: made, shown, changed; secrets are shown once."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from cli.app import main
from models import Delivery, Scope
from models.db.session import transaction
from rushes.runtime import Runtime
from sandbox.receiver import Receiver
from tests.support import rows
from tests.support.access import KEY, add_key, add_tenant, bearing
from tests.support.api_server import Api, Json, fields_of, serve_api
from tests.support.callbacks import add_events, create_all, send_due

URL = "https://receiver.example/hooks?team=a"


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with serve_api(database_url, tmp_path, url_allow="127.0.0.1") as served:
        yield served


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


class Tenants(NamedTuple):
    """Keys of two tenants, and of an operator."""

    acme: str
    other: str
    operator: str


@pytest.fixture
def tenants(api: Api) -> Tenants:
    with transaction(api.sessions) as session:
        own = [add_key(session, Scope.PUSH, Scope.READ, tenant_id=add_tenant(session, each)) for each in ("acme", "b")]
        return Tenants(*own, add_key(session, Scope.OPERATE))


def runtime_of(api: Api) -> Runtime:
    opened: Runtime = api.app.state.runtime
    return opened


def post(api: Api, *path: str, body: Any = None, key: str = KEY, **headers: str) -> Json:
    answer = api.client.post("/".join(("/v1", *path)), json=body, headers=bearing(key) | headers)
    shown: Json = answer.raise_for_status().json()
    return shown


def get(api: Api, *path: str, key: str = KEY, **query: Any) -> Json:
    answer = api.client.get("/".join(("/v1", *path)), params=query, headers=bearing(key))
    shown: Json = answer.raise_for_status().json()
    return shown


def test_an_endpoint_is_made_shown_rotated_switched_and_deleted(api: Api) -> None:
    made = post(api, "endpoints", body={"url": URL})
    assert made["kinds"] == ["job.succeeded", "job.failed", "job.cancelled", "batch.ended"]
    assert made["secret"].startswith("whsec_")
    shown = get(api, "endpoints", made["id"])
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert get(api, "endpoints")["items"] == [shown]
    rotated = post(api, "endpoints", made["id"], "rotate", body={"overlap": 60})
    assert rotated["secret"] != made["secret"]
    assert rotated["old_secret_until"] is not None
    disabled = post(api, "endpoints", made["id"], "disable")
    assert disabled["disabled_reason"] == "person"
    assert api.client.post(f"/v1/endpoints/{made['id']}/disable").status_code == 409
    assert api.client.post(f"/v1/endpoints/{made['id']}/test").status_code == 409
    assert post(api, "endpoints", made["id"], "enable")["disabled_at"] is None
    assert api.client.delete(f"/v1/endpoints/{made['id']}").json()["id"] == made["id"]
    assert get(api, "endpoints")["items"] == []
    assert api.client.get(f"/v1/endpoints/{made['id']}").status_code == 404


def test_a_second_rotation_waits_for_the_overlap_of_the_first(api: Api) -> None:
    made = post(api, "endpoints", body={"url": URL})
    post(api, "endpoints", made["id"], "rotate", body={"overlap": 60})
    refused = api.client.post(f"/v1/endpoints/{made['id']}/rotate", json={"overlap": 60})
    assert (refused.status_code, "old_secret_until" in refused.json()["detail"]) == (409, True)
    post(api, "endpoints", made["id"], "rotate", body={"overlap": 0})
    post(api, "endpoints", made["id"], "rotate", body={"overlap": 60})


def test_a_key_that_only_pushes_makes_no_endpoint(api: Api) -> None:
    with transaction(api.sessions) as session:
        pusher = add_key(session, Scope.PUSH)
    refused = api.client.post("/v1/endpoints", json={"url": URL}, headers=bearing(pusher))
    assert refused.status_code == 403
    assert "the scope push and read;" in refused.json()["detail"]


def test_a_repeated_request_makes_one_endpoint_and_hides_its_secret(api: Api) -> None:
    first, again = (post(api, "endpoints", body={"url": URL}, **{"Idempotency-Key": "one"}) for _ in range(2))
    assert (first["id"], again["secret"]) == (again["id"], None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "ftp://a.example"}, "url"),
        ({"url": "https://user:word@a.example/"}, "url"),
        ({"url": "http://a.example/"}, "url"),
        ({"url": f"https://a.example/{'x' * 2_000}"}, "url"),
        ({"url": URL, "kinds": []}, "kinds"),
        ({"url": URL, "kinds": ["job.success"]}, "kinds"),
        ({"url": URL, "kinds": ["*"]}, "kinds"),
        ({"url": URL, "secret": "whsec_mine"}, "secret"),
    ],
)
def test_a_wrong_endpoint_is_refused_by_its_field(api: Api, body: Json, field: str) -> None:
    refused = api.client.post("/v1/endpoints", json=body)
    assert (refused.status_code, list(fields_of(refused))) == (422, [field])


def test_a_tenant_has_twenty_endpoints_at_most(api: Api, tenants: Tenants) -> None:
    ids = [post(api, "endpoints", body={"url": URL}, key=tenants.acme)["id"] for _ in range(20)]
    refused = api.client.post("/v1/endpoints", json={"url": URL}, headers=bearing(tenants.acme))
    assert refused.status_code == 409
    assert post(api, "endpoints", body={"url": URL}, key=tenants.other)["tenant"] == "b"
    api.client.delete(f"/v1/endpoints/{ids[0]}", headers=bearing(tenants.acme)).raise_for_status()
    post(api, "endpoints", body={"url": URL}, key=tenants.acme)


def test_a_tenant_sees_and_changes_only_its_own(api: Api, tenants: Tenants, receiver: Receiver) -> None:
    made = post(api, "endpoints", body={"url": receiver.url}, key=tenants.acme)
    sent = post(api, "endpoints", made["id"], "test", key=tenants.acme)
    for method, path in (
        ("GET", f"endpoints/{made['id']}"),
        ("DELETE", f"endpoints/{made['id']}"),
        ("POST", f"endpoints/{made['id']}/disable"),
        ("POST", f"endpoints/{made['id']}/test"),
        ("GET", f"deliveries/{sent['id']}"),
        ("POST", f"deliveries/{sent['id']}/resend"),
        ("GET", f"deliveries?endpoint_id={made['id']}"),
    ):
        answer = api.client.request(method, f"/v1/{path}", headers=bearing(tenants.other))
        assert (answer.status_code, method, path) == (404, method, path)
    assert get(api, "endpoints", key=tenants.other)["items"] == get(api, "deliveries", key=tenants.other)["items"] == []
    assert [each["tenant"] for each in get(api, "endpoints", key=tenants.operator)["items"]] == ["acme"]
    assert [each["id"] for each in get(api, "deliveries", key=tenants.operator)["items"]] == [sent["id"]]


def test_changes_by_an_operator_are_in_the_audit_log_without_secrets(api: Api, tenants: Tenants) -> None:
    made = post(api, "endpoints", body={"url": URL}, key=tenants.acme)
    rotated = post(api, "endpoints", made["id"], "rotate", body={}, key=tenants.operator)
    post(api, "endpoints", made["id"], "disable", key=tenants.operator)
    found = get(api, "audit-log", action="endpoint.")["items"]
    assert [each["action"] for each in found] == ["endpoint.disable", "endpoint.rotate", "endpoint.create"]
    assert found[2]["after"] == {"kinds": made["kinds"], "host": "receiver.example"}
    assert (found[0]["before"]["disabled_reason"], found[0]["after"]["disabled_reason"]) == (None, "person")
    assert not any(word in str(found) for word in (made["secret"], rotated["secret"], "team=a"))


def test_a_test_is_sent_shown_and_sent_again(api: Api, receiver: Receiver) -> None:
    made = post(api, "endpoints", body={"url": receiver.url, "kinds": ["batch.*"]})
    sent = post(api, "endpoints", made["id"], "test")
    assert (sent["kind"], sent["state"], sent["event_id"], sent["attempts"]) == ("endpoint.test", "pending", None, 0)
    assert send_due(runtime_of(api)) == 1
    shown = get(api, "deliveries", sent["id"])
    assert (shown["state"], shown["status"], shown["answer"]) == ("delivered", 200, "")
    again = post(api, "deliveries", sent["id"], "resend")
    assert (again["state"], again["attempts"], again["ended_at"]) == ("pending", 0, None)
    assert send_due(runtime_of(api)) == 1
    assert [each.webhook_id for each in receiver.calls] == [sent["id"]] * 2
    with transaction(api.sessions) as session:
        rows.change(session, "delivery", state="pending", due_at=rows.MINUTE, claimed_at=rows.NOW, ended_at=None)
    assert api.client.post(f"/v1/deliveries/{sent['id']}/resend").status_code == 409


def test_deliveries_are_listed_by_endpoint_job_and_state(api: Api) -> None:
    first, second = (post(api, "endpoints", body={"url": URL, "kinds": ["job.*"]})["id"] for _ in range(2))
    runtime = runtime_of(api)
    job_id = add_events(runtime, "job.storing", "job.succeeded")
    add_events(runtime, "job.failed")
    create_all(runtime)
    with transaction(api.sessions) as session:
        rows.change(session, "delivery", Delivery.kind == "job.failed", state="failed", due_at=None, ended_at=rows.NOW)

    def list_kinds(**query: Any) -> list[str]:
        return [each["kind"] for each in get(api, "deliveries", **query)["items"]]

    assert list_kinds(endpoint_id=first) == ["job.failed", "job.succeeded", "job.storing"]
    assert list_kinds(job=str(job_id), endpoint_id=second) == ["job.succeeded", "job.storing"]
    assert list_kinds(state="failed") == ["job.failed"] * 2
    page = get(api, "deliveries", limit=4)
    rest = get(api, "deliveries", limit=4, cursor=page["next_cursor"])
    assert (len(page["items"]), len(rest["items"]), rest["next_cursor"]) == (4, 2, None)
    ids = [each["id"] for each in page["items"] + rest["items"]]
    assert len(set(ids)) == 6
    for query in ({"job": str(uuid4())}, {"endpoint_id": str(uuid4())}, {"job": "pilot/7"}):
        assert api.client.get("/v1/deliveries", params=query).status_code == 404
    assert list(fields_of(api.client.get("/v1/deliveries", params={"job": "x"}))) == ["job"]
    assert list(fields_of(api.client.get("/v1/deliveries", params={"job": "a/b/c"}))) == ["job"]


def test_no_log_holds_a_secret_or_the_path_of_a_url(
    api: Api, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answering = lambda _: 410
    with capture_logs() as lines, caplog.at_level(logging.DEBUG):
        made = post(api, "endpoints", body={"url": f"{receiver.url}/hidden?token=hidden"})
        post(api, "endpoints", made["id"], "test")
        assert send_due(runtime_of(api)) == 1
    assert "endpoint.disabled" in str(lines)
    for hidden in ("hidden", made["secret"].removeprefix("whsec_")):
        assert hidden not in str(lines)
        assert hidden not in caplog.text


def test_the_commands_do_the_same(
    api: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUSHES_API_KEY", KEY)
    monkeypatch.setenv("RUSHES_URL", str(api.client.base_url))

    def run(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        out, err = capsys.readouterr()
        lines = out.splitlines(keepends=True)  # the API logs here too, since it runs in this process
        return code, "".join(each for each in lines if "request.answered" not in each), err

    code, out, err = run("endpoint", "create", receiver.url, "--kinds", "job.*, batch.ended")
    assert (code, out.startswith("whsec_"), out.count("\n"), "job.*, batch.ended" in err) == (0, True, 1, True)
    assert receiver.url in run("endpoint", "list")[1]
    assert "is on its way" in run("callback", "test", receiver.url)[1]
    assert send_due(runtime_of(api)) == 1
    (call,) = receiver.calls
    assert call.webhook_id in run("callback", "list", "--state", "delivered", "--endpoint", receiver.url)[1]
    assert "delivered" in run("callback", "show", call.webhook_id)[1]
    assert run("callback", "resend", call.webhook_id)[1] == f"callback {call.webhook_id} is sent again\n"
    assert run("endpoint", "rotate", receiver.url, "--overlap", "1h")[1].startswith("whsec_")
    assert run("endpoint", "disable", receiver.url)[0] == run("endpoint", "enable", receiver.url)[0] == 0
    assert run("endpoint", "delete", receiver.url)[0] == 0
    assert "there is no endpoint yet" in run("endpoint", "list")[2]
    assert run("endpoint", "delete", receiver.url)[0] == 2
    assert run("callback", "show", "msg_0")[0] == 2
