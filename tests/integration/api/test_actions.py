"""Actions over HTTP: requested, followed, aborted; what is wrong is named."""

from typing import Any

import pytest

from cli.app import main
from models.db.session import transaction
from rushes.jobs.actions import advance_action
from tests.support import rows
from tests.support.api_server import Api, Json, fields_of

RETRY = {"kind": "retry", "filter": {"code": "broken"}}


def add_failed(api: Api, count: int) -> list[str]:
    with transaction(api.sessions) as session:
        return [str(rows.add_job(session, "failed")) for _ in range(count)]


def post(api: Api, body: Any, *path: str) -> Any:
    return api.client.post("/".join(("/v1/actions", *path)), json=body)


def get(api: Api, *path: str, **query: Any) -> Json:
    answer: Json = api.client.get("/".join(("/v1/actions", *path)), params=query).raise_for_status().json()
    return answer


def test_an_action_is_counted_requested_and_followed(api: Api) -> None:
    jobs = add_failed(api, 3)
    dry = post(api, {**RETRY, "dry_run": True})
    assert (dry.status_code, dry.json()["matched"], dry.json()["cost"], dry.json()["id"]) == (200, 3, "1.0800", None)
    asked = post(api, RETRY)
    assert asked.status_code == 202
    action = asked.json()
    assert (action["state"], action["filter"]["code"]) == ("running", "broken")
    while advance_action(api.sessions):
        pass
    assert get(api, action["id"])["state"] == "done"
    assert get(api)["items"][0]["changed"] == 3
    page = get(api, action["id"], "items", limit=2)
    rest = get(api, action["id"], "items", limit=2, cursor=page["next_cursor"])
    assert [each["job_id"] for each in page["items"] + rest["items"]] == jobs
    assert {each["outcome"] for each in page["items"]} == {"queued"}


def test_an_aborted_action_stays_aborted(api: Api) -> None:
    add_failed(api, 1)
    action = post(api, RETRY).json()
    assert post(api, None, action["id"], "abort").json()["state"] == "aborted"
    assert not advance_action(api.sessions)
    assert post(api, None, action["id"], "abort").json()["state"] == "aborted"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "explode", "filter": {"code": "x"}}, "kind"),
        ({"kind": "retry", "filter": {}}, "filter"),
        ({"kind": "retry", "filter": {"colour": "red"}}, "filter.colour"),
        ({"kind": "retry", "filter": {"state": ["queued"]}}, "filter.state"),
        ({"kind": "retry", "filter": {"model": "unknown"}}, "filter.model"),
        ({"kind": "retry", "filter": {"created_after": "yesterday"}}, "filter.created_after"),
        ({"kind": "priority", "filter": {"code": "x"}}, "priority"),
        ({"kind": "priority", "filter": {"code": "x"}, "priority": 101}, "priority"),
        ({"kind": "cancel", "filter": {"code": "x"}, "priority": 1}, "priority"),
        ({"kind": "cancel", "filter": {"code": "x"}, "input": {}}, "input"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_stored(api: Api, body: Any, field: str) -> None:
    refused = post(api, body)
    assert (refused.status_code, list(fields_of(refused))) == (422, [field])
    assert get(api)["items"] == []


@pytest.mark.parametrize(
    "words",
    [
        ["batch", "retry", "", "--code", "broken", "--yes"],
        ["batch", "cancel", "", "--state", "queued", "--yes"],
        ["batch", "pause", ""],
        ["job", "recheck", "--batch", "", "--code", "broken"],
    ],
)
def test_an_empty_batch_name_does_not_reach_all_batches(
    api: Api, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("RUSHES_URL", str(api.client.base_url))
    add_failed(api, 1)
    assert main(words) != 0
    assert get(api)["items"] == []


def test_an_unknown_batch_or_action_is_not_found(api: Api) -> None:
    assert post(api, {"kind": "cancel", "filter": {"batch": "nothing"}}).status_code == 404
    assert api.client.get(f"/v1/actions/{rows.new_id()}").status_code == 404
