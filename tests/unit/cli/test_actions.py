"""Commands that change many jobs: what they ask for, and what they print."""

import pytest

from tests.support.cli_stub import Answer, Run, action, job, serve_stub

PART = {"batch": "pilot", "state": ["queued"], "code": "provider"}


@pytest.mark.parametrize(
    ("kind", "more"), [("cancel", ["--yes"]), ("priority", ["5"]), ("pause", []), ("resume", []), ("retry", ["--yes"])]
)
def test_each_change_of_a_batch_reaches_a_part_of_it(run: Run, kind: str, more: list[str]) -> None:
    with serve_stub(Answer(body=action(kind, changed=1))) as stub:
        code, out, err = run(stub, "batch", kind, "pilot", *more, "--state", "queued", "--code", "provider")
    assert (code, out.startswith("1 of 1 jobs")) == (0, True), err
    assert [each.body["filter"] for each in stub.asked] == [PART, PART]


def test_a_dry_run_with_new_values_says_whose_price_it_shows(run: Run) -> None:
    answers = [Answer(body={"items": [job()], "next_cursor": None}), Answer(body=job()), Answer(body=action("retry"))]
    with serve_stub(*answers) as stub:
        code, out, err = run(stub, "batch", "retry", "pilot", "--set", "duration=8", "--dry-run")
    assert code == 0, err
    assert "$0.36 for one render of each at the price of its present input, which the new values may change" in out


def test_new_values_for_a_batch_without_jobs_change_nothing(run: Run) -> None:
    with serve_stub(Answer(body={"items": [], "next_cursor": None}), Answer(body=action("retry", matched=0))) as stub:
        code, out, err = run(stub, "batch", "retry", "pilot", "--set", "duration=8")
    assert (code, out.startswith("retry: 0 jobs")) == (0, True), err


def test_several_jobs_are_retried_by_one_action(run: Run) -> None:
    with serve_stub(Answer(body=action("retry", matched=2, changed=2))) as stub:
        code, out, err = run(stub, "job", "retry", "pilot/1", "pilot/2", "pilot/3")
    assert (code, out) == (1, "2 of 2 jobs retried\n")
    assert "error: 1 of 3 jobs could not be retried" in err
    assert stub.asked[-1].body == {"kind": "retry", "filter": {"ids": ["pilot/1", "pilot/2", "pilot/3"]}}
