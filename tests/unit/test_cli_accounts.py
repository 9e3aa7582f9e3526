"""`rushes account` as a person types it, against a scripted API."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from api.examples import ACCOUNT, PAUSED_ACCOUNT
from cli.app import main
from tests.cli_stub import Answer, StubApi, problem, serve_stub

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUSHES_DATA_DIR", str(tmp_path / "data"))

    def run_command(stub: StubApi, *words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("RUSHES_URL", stub.url)
        code = main(["account", *words])
        return (code, *capsys.readouterr())

    return run_command


def test_an_account_is_shown_with_its_money(run: Run) -> None:
    with serve_stub(Answer(200, {**ACCOUNT, "surpluses": 2})) as stub:
        code, out, _ = run(stub, "show")
    assert (code, stub.asked[0].path) == (0, "/v1/account")
    facts = {line[:20].strip(): line[20:] for line in out.splitlines()}
    assert {"held": "$0.72", "spent": "$14.40", "refunded": "$0.36"}.items() <= facts.items()
    assert facts["late writes"] == "1 store.renew"
    assert facts["surplus"] == "2 ($0.00)"
    assert "paused" not in facts


@pytest.mark.parametrize(("word", "answer"), [("pause", PAUSED_ACCOUNT), ("resume", ACCOUNT)])
def test_a_decision_is_one_post(run: Run, word: str, answer: dict[str, object]) -> None:
    with serve_stub(Answer(200, answer), Answer(200, answer)) as stub:
        code, out, _ = run(stub, word)
        assert ("person: mara" in out) == (word == "pause")
        assert json.loads(run(stub, word, "--json")[1]) == answer
    assert (code, stub.asked[0].method, stub.asked[0].path) == (0, "POST", f"/v1/account/{word}")


def test_a_refusal_is_told(run: Run) -> None:
    with serve_stub(problem(409, "the account is not paused")) as stub:
        code, _, err = run(stub, "resume")
    assert code == 2
    assert "the account is not paused" in err
