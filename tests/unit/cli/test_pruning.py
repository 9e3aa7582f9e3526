"""`rushes prune` and `rushes batch delete`: what they ask for, how they repeat it, and what they print."""

import json
from pathlib import Path

import pytest

from cli.batch_export import download_batch
from rushes_client.connection import Connection
from tests.support.cli_stub import UUID, Answer, Run, action, job, problem, serve_stub

NOTHING = {"jobs": 0, "predictions": 0, "events": 0, "batches": 0, "files": 0}
REMOVED_AT = "2026-12-05T12:00:00.000000Z"


def removed(*, done: bool, misplaced: int = 0, **counts: int) -> Answer:
    return Answer(200, {"removed": NOTHING | counts, "prunable": None, "misplaced": misplaced, "done": done})


def test_a_prune_is_repeated_until_nothing_is_left(run: Run) -> None:
    with serve_stub(removed(done=False, jobs=1500, files=10), removed(done=True, jobs=2, misplaced=3)) as stub:
        code, out, err = run(stub, "prune", "--older-than", "90d")
    assert code == 0
    assert dict(line.split() for line in out.splitlines()) == {
        "jobs": "1,502",
        "predictions": "0",
        "events": "0",
        "batches": "0",
        "files": "10",
    }
    assert err.splitlines() == [
        "1,500 jobs and 10 files removed so far",
        "hint: 3 files are outside the folder of RUSHES_ARTIFACTS_URL, and stay",
    ]
    assert [each.body for each in stub.asked] == [{"older_than_days": 90.0, "dry_run": False}] * 2


def test_a_dry_run_only_counts(run: Run) -> None:
    counts = {"jobs": 7, "batches": 1, "files": 9, "bytes": 1234, "unverified": 1, "waiting": 0}
    with serve_stub(Answer(200, {"removed": None, "prunable": counts, "misplaced": 0, "done": True})) as stub:
        code, out, _ = run(stub, "prune", "--older-than", "8d12h", "--dry-run", "--json")
    assert (code, json.loads(out)) == (0, counts)
    assert stub.asked[0].body == {"older_than_days": 8.5, "dry_run": True}


@pytest.mark.parametrize(
    ("age", "message"),
    [
        ("7d", "--older-than: must be at least 8d: the provider lists a prediction for seven days"),
        ("90", "--older-than: must be a length such as 2h, 90m or 1d12h, not '90'"),
    ],
)
def test_an_age_that_is_too_short_or_unreadable_is_refused_at_once(run: Run, age: str, message: str) -> None:
    with serve_stub(Answer()) as stub:
        code, _, err = run(stub, "prune", "--older-than", age)
    assert (code, err) == (2, f"error: {message}\n")
    assert stub.asked == []


def test_a_batch_is_deleted_by_name(run: Run) -> None:
    with serve_stub(Answer(202, action("delete", matched=2, changed=2))) as stub:
        code, out, _ = run(stub, "batch", "delete", "pilot")
    assert (code, out) == (0, "batch pilot is being removed: its files now, its rows later\n")
    assert [(each.method, each.path) for each in stub.asked] == [("POST", "/v1/actions")]
    assert stub.asked[0].body == {"kind": "delete", "filter": {"batch": "pilot"}}


def test_a_batch_that_is_not_done_is_refused_in_the_api_s_words(run: Run) -> None:
    with serve_stub(problem(409, "2 of the 24 jobs of batch 'pilot' have not ended")) as stub:
        code, _, err = run(stub, "batch", "delete", "pilot")
    assert (code, err) == (2, "error: 2 of the 24 jobs of batch 'pilot' have not ended\n")


def test_a_download_leaves_out_what_was_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = {"url": "x", "sha256": "0", "removed_at": REMOVED_AT}
    with (
        serve_stub(Answer(200, {"items": [job(video=gone)], "next_cursor": None})) as stub,
        Connection(stub.url) as api,
    ):
        assert download_batch(api, "pilot", tmp_path) == {}
    assert "the videos of 1 job were removed on purpose" in capsys.readouterr().err
    assert len(stub.asked) == 1


def test_a_single_download_says_when_the_file_was_removed(run: Run) -> None:
    gone = {"url": "x", "sha256": "0", "removed_at": REMOVED_AT}
    with serve_stub(Answer(200, job(video=gone))) as stub:
        code, _, err = run(stub, "job", "download", UUID)
    assert code == 1
    assert err.startswith(f"error: the file of job {UUID} was removed on purpose at 2026-12-05")
