"""Actions over HTTP: requested, followed, aborted; what is wrong is named."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from cli.app import main
from models.db.session import transaction
from rushes.jobs.actions import find_running_action
from tests.support import rows
from tests.support.access import KEY
from tests.support.api_server import Api, Json, fields_of
from tests.support.runtimes import finish_actions

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
    finish_actions(api.sessions)
    assert get(api, action["id"])["state"] == "done"
    assert get(api)["items"][0]["changed"] == 3
    page = get(api, action["id"], "items", limit=2)
    rest = get(api, action["id"], "items", limit=2, cursor=page["next_cursor"])
    assert [each["job_id"] for each in page["items"] + rest["items"]] == jobs
    assert {each["outcome"] for each in page["items"]} == {"queued"}


def test_an_aborted_action_stays_aborted(api: Api) -> None:
    add_failed(api, 1)
    action = post(api, RETRY).json()
    aborted = post(api, None, action["id"], "abort").json()
    assert (aborted["state"], aborted["problem"]) == ("aborted", "default/tests aborted it")
    assert find_running_action(api.sessions) is None
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
        ({**RETRY, "input": {"image": "data:image/png;base64,AA"}}, "input.image"),
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
    monkeypatch.setenv("RUSHES_API_KEY", KEY)
    add_failed(api, 1)
    assert main(words) != 0
    assert get(api)["items"] == []


def run_with_leader(api: Api, lead: Callable[[], object], *words: str) -> int:
    """The exit code of a command that waits for its action, while `lead` acts on it."""
    over = threading.Event()

    def act() -> None:
        while not over.wait(0.05):
            if find_running_action(api.sessions):
                lead()

    with ThreadPoolExecutor(1) as leader:
        led = leader.submit(act)
        try:
            return main([*words])
        finally:
            over.set()
            led.result(timeout=60)


def test_a_command_fails_if_its_action_is_aborted(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUSHES_URL", str(api.client.base_url))
    monkeypatch.setenv("RUSHES_API_KEY", KEY)
    add_failed(api, 1)

    def abort() -> None:
        post(api, None, get(api)["items"][0]["id"], "abort")

    assert run_with_leader(api, abort, "job", "recheck", "--code", "broken") == 1
    shown = capsys.readouterr()
    assert "0 of 1 jobs probed again" in shown.out
    assert "the action was aborted: default/tests aborted it" in shown.err
    assert main(["action", "show", get(api)["items"][0]["id"]]) == 0
    assert "default/tests aborted it" in capsys.readouterr().out


def test_a_command_counts_the_jobs_that_no_longer_match(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUSHES_URL", str(api.client.base_url))
    monkeypatch.setenv("RUSHES_API_KEY", KEY)
    first, *_ = add_failed(api, 3)

    def lead() -> None:
        with transaction(api.sessions) as session:
            rows.change(session, "job", UUID(first), state="succeeded", error_code=None)
        finish_actions(api.sessions)

    assert run_with_leader(api, lead, "job", "recheck", "--code", "broken") == 0
    assert "0 of 3 jobs probed again, 2 refused, 1 no longer matching" in capsys.readouterr().out


def test_an_unknown_batch_or_action_is_not_found(api: Api) -> None:
    assert post(api, {"kind": "cancel", "filter": {"batch": "nothing"}}).status_code == 404
    assert api.client.get(f"/v1/actions/{rows.new_id()}").status_code == 404
