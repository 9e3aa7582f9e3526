"""A store step that kills its worker is quarantined with the evidence, and takes no others with it."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from models import ArtifactKind, transitions
from models.lifecycle import Reason
from models.transitions.storing.claims import MAX_STORE_CRASHES, CrashedStore
from tests.support import rows
from tests.support.rows import NOW, SECOND, Render

LEASE = timedelta(seconds=20)
DELAYED = Reason("not_stored", "the download was cut")


def begin_all(session: Session) -> dict[Any, int]:
    """Claim and begin what may be claimed; the claims by prediction."""
    claimed = transitions.claims.claim_stores(session, count=50, lease=LEASE)
    for each in claimed:
        assert transitions.steps.begin_store(session, each.prediction_id, each.claim, lease=LEASE)
    return {each.prediction_id: each.claim for each in claimed}


def crash(session: Session, *prediction_ids: Any) -> list[CrashedStore]:
    """The worker of these steps dies: their leases run out."""
    for prediction_id in prediction_ids:
        rows.change(session, "prediction", prediction_id, due_at=-SECOND)
    return transitions.claims.take_back_stores(session, count=50)


def finish(session: Session, render: Render, claim: int) -> object:
    video = transitions.storing.steps.NewArtifact(ArtifactKind.VIDEO, "file:///a.mp4", 7, rows.SHA256)
    return transitions.steps.finish_store(session, render.prediction_id, claim, artifacts=[video])


@pytest.mark.parametrize("cancel", [True, False])
def test_three_crashes_in_a_row_quarantine_the_job_and_a_retry_stores_it(scratch: Session, cancel: bool) -> None:
    render = rows.add_render(scratch, "completed")
    for number in range(1, MAX_STORE_CRASHES + 1):
        assert list(begin_all(scratch)) == [render.prediction_id]
        if cancel:
            transitions.jobs.cancel_job(scratch, render.job_id)
        quarantined = number == MAX_STORE_CRASHES
        assert crash(scratch, render.prediction_id) == [
            CrashedStore(render.prediction_id, render.job_id, number, number, quarantined)
        ]
    job = rows.read(scratch, "job", render.job_id)
    state = "cancelled" if cancel else "failed"
    assert (job["state"], job["error_code"]) == (state, "store_killed_worker")
    assert rows.read(scratch, "prediction", render.prediction_id)["due_at"] is None
    assert "3 times in a row" in job["error_message"]
    assert "not known" in job["error_message"]
    reported = [event for event in rows.list_events(scratch, job_id=render.job_id) if "cancel_req" not in event["kind"]]
    assert [event["kind"] for event in reported] == ["store.crashed"] * MAX_STORE_CRASHES + [f"job.{state}"]
    assert reported[-1]["detail"]["attempts"] == MAX_STORE_CRASHES

    assert transitions.retries.retry_job(scratch, render.job_id) == "storing"
    assert list(begin_all(scratch)) == [render.prediction_id]
    assert crash(scratch, render.prediction_id) == [
        CrashedStore(render.prediction_id, render.job_id, 1, 1, False)
    ]  # counted anew


def test_an_outcome_in_between_begins_the_count_anew(scratch: Session) -> None:
    render = rows.add_render(scratch, "completed")
    for _ in range(MAX_STORE_CRASHES):
        begin_all(scratch)
        (crashed,) = crash(scratch, render.prediction_id)
        assert (crashed.crashes, crashed.quarantined) == (1, False)
        claim = begin_all(scratch)[render.prediction_id]
        assert transitions.steps.delay_store(scratch, render.prediction_id, claim, delay=NOW, reason=DELAYED)
        assert rows.read(scratch, "prediction", render.prediction_id)["error_code"] == DELAYED[0]


def test_a_message_that_was_lost_is_no_crash(scratch: Session) -> None:
    render = rows.add_render(scratch, "completed")
    for _ in range(MAX_STORE_CRASHES + 1):
        (claimed,) = transitions.claims.claim_stores(scratch, count=5, lease=LEASE)
        assert claimed.job_id == render.job_id
        assert crash(scratch, render.prediction_id) == []
    assert rows.read(scratch, "job", render.job_id)["state"] == "storing"


def test_a_step_that_kills_its_worker_takes_no_others_with_it(scratch: Session) -> None:
    renders = [rows.add_render(scratch, "completed") for _ in range(4)]
    killer = renders[1].prediction_id
    by_id = {each.prediction_id: each for each in renders}

    def state_of(render: Render) -> str:
        return str(rows.read(scratch, "job", render.job_id)["state"])

    turns = 0
    while unfinished := [each for each in renders if state_of(each) == "storing"]:
        turns += 1
        assert turns < 20, unfinished
        begun = begin_all(scratch)
        if killer in begun:
            crash(scratch, *begun)  # it takes its whole worker with it
            continue
        for prediction_id, claim in begun.items():
            assert finish(scratch, by_id[prediction_id], claim)
    ends = {each: state_of(render) for each, render in by_id.items()}
    assert ends == {each: "failed" if each == killer else "succeeded" for each in by_id}
    crashes = {each: rows.kinds(scratch, prediction_id=each).count("store.crashed") for each in by_id}
    assert crashes == {each: MAX_STORE_CRASHES if each == killer else 1 for each in by_id}


def test_reclaimed_stores_run_one_at_a_time_alongside_new_ones(scratch: Session) -> None:
    suspects = [rows.add_render(scratch, "completed").prediction_id for _ in range(3)]
    assert set(begin_all(scratch)) == set(suspects)
    assert len(crash(scratch, *suspects)) == len(suspects)
    new = rows.add_render(scratch, "completed").prediction_id
    begun = begin_all(scratch)
    assert new in begun
    assert len(begun) == 2
    assert begin_all(scratch) == {}  # until the first suspect has an outcome
    (first,) = set(begun) - {new}
    assert transitions.steps.delay_store(scratch, first, begun[first], delay=LEASE, reason=DELAYED)
    assert len(begin_all(scratch)) == 1
