"""`rushes key`, `rushes tenant` and `rushes audit-log` as a person types them, against a scripted API."""

import json
from typing import Any

import pytest

from rushes.access.keys import hint_at
from tests.support.access import KEY
from tests.support.cli_stub import UUID, Answer, Run, problem, serve_stub


def key(**changes: Any) -> dict[str, Any]:
    """A key as the API shows it."""
    return {
        "id": UUID,
        "tenant": "acme",
        "name": "nightly",
        "hint": hint_at(KEY),
        "scopes": ["push", "read"],
        "status": "usable",
        "created_at": "2026-11-05T12:00:00.000000Z",
        "expires_at": None,
        "last_used_at": None,
        "revoked_at": None,
        **changes,
    }


MADE = key(key=KEY, old_expires_at="2026-11-06T12:00:00.000000Z")


def test_a_new_key_is_all_there_is_on_stdout(run: Run) -> None:
    with serve_stub(Answer(201, MADE)) as stub:
        code, out, err = run(stub, "key", "create", "nightly", "-t", "acme", "--scope", "read, push")
    assert (code, out) == (0, f"{KEY}\n")
    assert "acme/nightly may push, read with this key, for ever" in err
    assert stub.asked[0].body == {"tenant": "acme", "name": "nightly", "scopes": ["read", "push"], "expires_at": None}


def test_a_new_key_as_json_has_the_rest_too(run: Run) -> None:
    with serve_stub(Answer(201, MADE)) as stub:
        code, out, err = run(stub, "key", "create", "nightly", "--json")
    assert (code, json.loads(out), err) == (0, MADE, "")


def test_a_wrong_length_is_named_and_nothing_is_sent(run: Run) -> None:
    with serve_stub(Answer(201, MADE)) as stub:
        code, out, err = run(stub, "key", "create", "nightly", "--expires", "soon")
    assert (code, out, stub.asked) == (2, "", [])
    assert "--expires: " in err


@pytest.mark.parametrize("words", [UUID, hint_at(KEY), KEY, "nightly"])
def test_a_key_is_meant_by_id_hint_name_or_itself(run: Run, words: str) -> None:
    with serve_stub(Answer(200, {"items": [key(), key(id="x", hint="y", name="z")]}), Answer(201, MADE)) as stub:
        code, out, err = run(stub, "key", "rotate", words, "--overlap", "1h")
    assert (code, out) == (0, f"{KEY}\n")
    assert (stub.asked[1].path, stub.asked[1].body) == (
        f"/v1/keys/{UUID}/rotate",
        {"overlap": 3600.0, "expires_at": None},
    )
    assert "the old key works until 2026-11-06 12:00:00" in err


@pytest.mark.parametrize("status", ["expired", "revoked"])
def test_a_name_means_no_key_that_is_over(run: Run, status: str) -> None:
    with serve_stub(Answer(200, {"items": [key(status=status)]})) as stub:
        code, _, err = run(stub, "key", "revoke", "nightly")
    assert (code, len(stub.asked)) == (2, 1)
    assert "there is no usable key 'nightly'" in err


def test_an_unknown_key_is_not_repeated_in_the_message(run: Run) -> None:
    with serve_stub(Answer(200, {"items": []})) as stub:
        _, out, err = run(stub, "key", "revoke", KEY)
    assert KEY not in out + err
    assert hint_at(KEY) in err


def test_keys_that_are_over_are_listed_on_request(run: Run) -> None:
    with serve_stub(Answer(200, {"items": [key(), key(status="revoked")]})) as stub:
        usable, every = run(stub, "key", "list")[1], run(stub, "key", "list", "--all", "-t", "acme")[1]
    assert ("revoked" in usable, "revoked" in every) == (False, True)
    assert stub.asked[1].path == "/v1/keys?tenant=acme"


def test_a_refusal_is_reported_with_what_to_do(run: Run) -> None:
    with serve_stub(problem(403, "this needs a key with the scope admin")) as stub:
        code, out, err = run(stub, "tenant", "create", "acme")
    assert (code, out) == (2, "")
    assert "hint: `rushes key create` makes a key with other scopes" in err


ENTRY = {
    "at": "2026-11-05T12:00:00.000000Z",
    "tenant_id": UUID,
    "key_id": UUID,
    "by": "default/mara",
    "action": "job.retry",
    "target": UUID,
    "before": {"state": "failed", "max_attempts": 3},
    "after": {"state": "queued", "max_attempts": 3, "more": [1]},
}


def test_the_audit_log_shows_what_changed(run: Run) -> None:
    with serve_stub(Answer(200, {"items": [ENTRY], "next_cursor": None})) as stub:
        out = run(stub, "audit-log", "--since", "2026-01-01T12:00Z", "--action", "job", "--target", "x")[1]
        assert json.loads(run(stub, "audit-log", "--json")[1]) == {"items": [ENTRY]}
    assert out.splitlines()[1].split(maxsplit=4)[2:] == [
        "default/mara",
        "job.retry",
        f"{UUID}  state: failed > queued, more: [1]",
    ]
    assert "action=job&target=x" in stub.asked[0].path
