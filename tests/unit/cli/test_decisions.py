"""`rushes unconfirmed` and `rushes prediction` as a person types them, against a scripted API."""

import json
from typing import Any

import pytest

from tests.support.cli_stub import UUID, Answer, Run, job, problem, serve_stub

UNCONFIRMED = {
    "prediction_id": UUID,
    "job_id": UUID.replace("9", "8"),
    "batch": None,
    "model": "ltx-2-pro",
    "input": {"prompt": "a \x1b[31mfox"},
    "price": "0.3600",
    "posted_at": "2026-11-05T12:00:00.000000Z",
    "needs_person": True,
    "reason": "cannot be read",
}


def test_unconfirmed_submissions_are_listed_with_what_they_wait_for(run: Run) -> None:
    with serve_stub(Answer(200, {"items": [UNCONFIRMED, {**UNCONFIRMED, "needs_person": False}]})) as stub:
        code, out, _ = run(stub, "unconfirmed", "list")
    assert (code, stub.asked[0].path) == (0, "/v1/unconfirmed")
    _, first, second = out.splitlines()
    assert first.startswith(UUID)
    assert ("person" in first, "person" in second) == (True, False)
    assert "$0.36" in first
    assert "cannot be read" in first
    assert "\x1b" not in out


def test_no_unconfirmed_submission_is_said_on_stderr(run: Run) -> None:
    with serve_stub(Answer(200, {"items": []})) as stub:
        assert run(stub, "unconfirmed", "list") == (0, "", "no submission is unconfirmed\n")
        assert json.loads(run(stub, "unconfirmed", "list", "--json")[1]) == {"items": []}


@pytest.mark.parametrize(
    ("words", "path", "body", "said"),
    [
        (("unconfirmed", "adopt", UUID, "task-7"), "adopt", {"provider_id": "task-7"}, f"prediction {UUID} is task-7"),
        (("unconfirmed", "dismiss", UUID), "dismiss", None, f"prediction {UUID} is marked not found"),
        (
            ("prediction", "abandon", UUID, "--accept-double-cost"),
            "abandon",
            {"accept_double_cost": True},
            f"prediction {UUID} is abandoned",
        ),
    ],
)
def test_a_decision_is_sent_and_its_job_is_reported(
    run: Run, words: tuple[str, ...], path: str, body: Any, said: str
) -> None:
    answer = job(state="rendering")
    with serve_stub(Answer(200, answer)) as stub:
        assert run(stub, *words) == (0, f"{said}; job {UUID} is rendering\n", "")
        assert json.loads(run(stub, *words, "--json")[1]) == answer
    asked = stub.asked[0]
    assert (asked.method, asked.path, asked.body) == ("POST", f"/v1/predictions/{UUID}/{path}", body)


def test_a_decision_without_the_flag_names_the_cost_and_how_to_accept_it(run: Run) -> None:
    with serve_stub(problem(422, "x", ("accept_double_cost", "must be true: $0.36"))) as stub:
        code, out, err = run(stub, "prediction", "abandon", UUID)
    assert (code, out, stub.asked[0].body) == (2, "", {"accept_double_cost": False})
    assert err == (
        "error: accept_double_cost: must be true: $0.36\n"
        "hint: repeat it with --accept-double-cost if that is what you want\n"
    )


def test_a_refused_decision_is_reported_in_the_api_s_words(run: Run) -> None:
    with serve_stub(problem(409, "it is completed")) as stub:
        assert run(stub, "unconfirmed", "dismiss", UUID) == (2, "", "error: it is completed\n")
