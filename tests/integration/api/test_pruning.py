"""Old jobs and deleted batches over HTTP: removed on request, and never without saying so."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from models import transitions
from models.db.session import transaction
from rushes.artifacts.store import ArtifactStore
from rushes.jobs.pruning import Keep, prune
from tests.integration.api.test_files import publish
from tests.support import rows
from tests.support.api_server import Api, fields_of, new_job
from tests.support.rows import DAY, NOW

LONG_AGO = -100 * DAY


def add_batch(api: Api, store: ArtifactStore, *, state: str = "succeeded", kind: str = "video") -> UUID:
    """A batch named pilot with one old job and one file; returns the job."""
    url = publish(store, f"pilot/1-fox.{kind}", b"content")
    with transaction(api.sessions) as session:
        account = transitions.accounts.ensure_account(session, "default", slots=2, submits_per_minute=60)
        batch = rows.insert(session, "batch", name="pilot", job_count=1, created_at=LONG_AGO)
        ended = LONG_AGO if state in {"succeeded", "failed"} else None
        job = rows.add_job(session, state, batch_id=batch, number=1, ended_at=ended)
        times: dict[str, Any] = dict.fromkeys(("posted_at", "accepted_at", "ended_at"), LONG_AGO)
        prediction = rows.add_prediction(session, job, account, "completed", **times)
        rows.add_artifact(session, job, prediction, url=url, kind=kind, created_at=LONG_AGO)
    return job


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """The store that the API reads from."""
    return ArtifactStore(tmp_path / "artifacts")


def test_a_deleted_batch_says_so_and_a_repetition_changes_nothing(api: Api, store: ArtifactStore) -> None:
    job = add_batch(api, store)
    deleted = api.client.delete("/v1/batches/pilot")
    assert (deleted.status_code, deleted.json()["done"]) == (202, 1)
    assert deleted.json()["deleted_at"]
    assert api.client.delete("/v1/batches/pilot").json()["deleted_at"] == deleted.json()["deleted_at"]
    kinds = [each["kind"] for each in api.client.get("/v1/batches/pilot/events").json()["items"]]
    assert kinds == ["batch.deleted"]
    assert api.client.get("/v1/batches").json()["items"][0]["deleted_at"] == deleted.json()["deleted_at"]
    assert api.client.get(f"/v1/jobs/{job}").status_code == 200


@pytest.mark.parametrize("kind", ["video", "unverified"])
def test_a_removed_file_is_gone_with_the_reason_and_the_time(api: Api, store: ArtifactStore, kind: str) -> None:
    job = add_batch(api, store, kind=kind, state="succeeded" if kind == "video" else "failed")
    api.client.delete("/v1/batches/pilot")
    with transaction(api.sessions) as session:
        rows.change(session, "prediction", ended_at=NOW)  # so that the rows stay
    assert prune(api.app.state.runtime, Keep()).files == 1
    removed_at = api.client.get(f"/v1/jobs/{job}").json()[kind]["removed_at"]
    answer = api.client.get(f"/v1/jobs/{job}/{kind}")
    at = removed_at.partition(".")[0] + "Z"
    name = "video" if kind == "video" else "unverified file"
    assert (answer.status_code, answer.json()["detail"]) == (
        410,
        f"the {name} of job {job} was removed on purpose at {at}: its row stays, its file is gone",
    )
    assert not list(store._root.rglob("1-fox*"))


def test_a_batch_with_unfinished_jobs_is_not_deleted(api: Api) -> None:
    api.push_batch("pilot", [new_job(), new_job()])
    refused = api.client.delete("/v1/batches/pilot")
    assert (refused.status_code, refused.json()["detail"]) == (
        409,
        "2 of the 2 jobs of batch 'pilot' have not ended",
    )
    assert api.client.get("/v1/batches/pilot").json()["deleted_at"] is None
    assert api.client.delete("/v1/batches/other").status_code == 404


def test_a_job_of_a_deleted_batch_is_neither_retried_nor_rechecked(api: Api, store: ArtifactStore) -> None:
    job = add_batch(api, store, state="failed", kind="unverified")
    api.client.delete("/v1/batches/pilot")
    retried = api.client.post(f"/v1/jobs/{job}/retry")
    assert (retried.status_code, retried.json()["detail"]) == (
        409,
        f"job {job} belongs to batch 'pilot', which was deleted: push it again",
    )
    with transaction(api.sessions) as session:
        transitions.pruning.mark_batch_files(session, count=10)
    rechecked = api.client.post(f"/v1/jobs/{job}/recheck")
    assert (rechecked.status_code, rechecked.json()["detail"]) == (
        409,
        f"job {job} is failed and has no unverified file",
    )


def test_old_jobs_are_counted_and_then_removed(api: Api, store: ArtifactStore) -> None:
    job = add_batch(api, store)
    spent = api.client.get("/v1/account").json()["cost"]
    counted = api.client.post("/v1/prune", json={"older_than_days": 90, "dry_run": True}).json()
    assert counted["prunable"] == {"jobs": 1, "batches": 1, "files": 1, "bytes": 1, "unverified": 0, "waiting": 0}
    assert api.client.post("/v1/prune", json={"older_than_days": 101}).json()["removed"]["jobs"] == 0
    removed = api.client.post("/v1/prune", json={"older_than_days": 90.5}).json()
    assert removed == {
        "removed": {"jobs": 1, "predictions": 1, "events": 0, "batches": 0, "files": 1},
        "prunable": None,
        "misplaced": 0,
        "done": True,
    }
    assert api.client.get("/v1/account").json()["cost"] == spent
    assert api.client.get(f"/v1/jobs/{job}").status_code == 404
    assert api.client.post(f"/v1/jobs/{job}/retry").status_code == 404
    batch = api.client.get("/v1/batches/pilot").json()
    assert (batch["jobs"], batch["done"], batch["states"]["succeeded"]) == (1, 1, 0)


@pytest.mark.parametrize("days", [7.99, -1, 40_000])
def test_an_age_below_eight_days_or_beyond_reason_is_refused(api: Api, days: float) -> None:
    refused = api.client.post("/v1/prune", json={"older_than_days": days})
    assert refused.status_code == 422
    assert list(fields_of(refused)) == ["older_than_days"]


def test_pages_go_on_after_their_last_job_was_removed(api: Api) -> None:
    with transaction(api.sessions) as session:
        jobs = [rows.add_job(session, "cancelled", ended_at=LONG_AGO + number * DAY) for number in range(5)]
    page = api.client.get("/v1/jobs?limit=2").json()
    assert page["items"][-1]["id"] == str(jobs[3])
    with transaction(api.sessions) as session:
        rows.change(session, "job", jobs[0], ended_at=NOW)
        assert transitions.pruning.remove_jobs(session, older_than=90 * DAY, count=3)  # the oldest by their end
    following = api.client.get("/v1/jobs", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [each["id"] for each in following["items"]] == [str(jobs[0])]
    assert following["next_cursor"] is None
