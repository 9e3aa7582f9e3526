"""`rushes account` as a person types it, against a scripted API."""

import json

import pytest

from api.examples import ACCOUNT, PAUSED_ACCOUNT
from tests.support.cli_stub import Answer, Run, problem, serve_stub


def test_an_account_is_shown_with_its_money(run: Run) -> None:
    with serve_stub(Answer(200, {**ACCOUNT, "duplicates": 2, "unknown_predictions": 1})) as stub:
        code, out, _ = run(stub, "account", "show")
    assert (code, stub.asked[0].path) == (0, "/v1/account")
    facts = {line[:20].strip(): line[20:] for line in out.splitlines()}
    assert {"held": "$0.72", "spent": "$14.40", "refunded": "$0.36"}.items() <= facts.items()
    assert facts["stale writes"] == "1 store.renew"
    assert facts["check price"] == "0.15 s of delay per request"
    assert facts["duplicates"] == "2 ($0.00)"
    assert facts["unknown"] == "1 prediction(s) in seven days that no job asked for"
    assert "paused" not in facts


@pytest.mark.parametrize(
    ("store", "shown"), [(ACCOUNT["store"], "412.0 GB free"), ({"problem": "the disk is full"}, "the disk is full")]
)
def test_an_account_shows_whether_videos_can_be_kept(run: Run, store: dict[str, object], shown: str) -> None:
    with serve_stub(Answer(200, {**ACCOUNT, "store": store})) as stub:
        assert f"store               {shown}" in run(stub, "account", "show")[1]


def test_an_account_without_unknown_predictions_has_no_line_for_them(run: Run) -> None:
    with serve_stub(Answer(200, ACCOUNT)) as stub:
        assert "unknown_predictions" not in run(stub, "account", "show")[1]


@pytest.mark.parametrize(
    ("word", "answer"), [("pause", PAUSED_ACCOUNT), *((each, ACCOUNT) for each in ("resume", "accept-store"))]
)
def test_a_decision_is_one_post(run: Run, word: str, answer: dict[str, object]) -> None:
    with serve_stub(Answer(200, answer), Answer(200, answer)) as stub:
        code, out, _ = run(stub, "account", word)
        assert ("person: mara" in out) == (word == "pause")
        assert json.loads(run(stub, "account", word, "--json")[1]) == answer
    assert (code, stub.asked[0].method, stub.asked[0].path) == (0, "POST", f"/v1/account/{word}")


def test_a_refusal_is_reported(run: Run) -> None:
    with serve_stub(problem(409, "the account is not paused")) as stub:
        code, _, err = run(stub, "account", "resume")
    assert code == 2
    assert "the account is not paused" in err
