"""What the provider's outcome moves, what its silence means, and how a video is stored or given up."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from models import ArtifactKind, PredictionState, transitions
from models.lifecycle import LIVE, NOTHING_BOUGHT, PREDICTION_MOVES, Reason
from models.transitions.storing.claims import ClaimedStore, CrashedStore
from models.transitions.storing.steps import NewArtifact
from tests.support import rows
from tests.support.rows import MINUTE, NOW, OUTPUT, SECOND, SHA256, Render

LEASE = timedelta(seconds=20)
REASON = Reason("generation_failed", "the model gave up")
VIDEO = NewArtifact(ArtifactKind.VIDEO, "file:///a.mp4", 7, SHA256, container="mp4", width=1920, height=1080)
POSTER = NewArtifact(ArtifactKind.POSTER, "file:///a.jpg", 3, SHA256)


def end(session: Session, render: Render, *, state: str = "failed", resubmit: bool = True) -> bool:
    return transitions.renders.end_prediction(
        session,
        render.prediction_id,
        render.claim,
        state=PredictionState(state),
        reason=REASON,
        resubmit_after=5 * SECOND if resubmit else None,
    )


def job_of(session: Session, render: Render) -> Any:
    return rows.read(session, "job", render.job_id)


def prediction_of(session: Session, render: Render) -> Any:
    return rows.read(session, "prediction", render.prediction_id)


def claim_store(session: Session) -> ClaimedStore:
    (claimed,) = transitions.claims.claim_stores(session, count=5, lease=LEASE)
    return claimed


def test_a_completed_render_frees_its_slot_and_waits_to_be_stored(scratch: Session) -> None:
    render = rows.add_render(scratch, "rendering", accepted_at=-MINUTE, inconsistent_since=NOW)
    assert transitions.renders.complete_prediction(scratch, render.prediction_id, render.claim, outputs=[OUTPUT])
    prediction = prediction_of(scratch, render)
    assert (prediction["state"], prediction["outputs"], prediction["inconsistent_since"]) == (
        "completed",
        [OUTPUT],
        None,
    )
    assert job_of(scratch, render)["state"] == "storing"
    reported = rows.list_events(scratch, job_id=render.job_id)
    assert [event["kind"] for event in reported] == ["prediction.completed", "job.storing"]
    assert reported[0]["detail"] == {"seconds": 60.0}
    assert not transitions.renders.complete_prediction(scratch, render.prediction_id, render.claim, outputs=[OUTPUT])


@pytest.mark.parametrize("state", sorted(PREDICTION_MOVES[PredictionState.RENDERING] - {"completed", "unconfirmed"}))
@pytest.mark.parametrize("cancel", [True, False])
@pytest.mark.parametrize("resubmit", [True, False])
def test_an_outcome_without_a_file_queues_fails_or_cancels_the_job(
    scratch: Session, state: str, cancel: bool, resubmit: bool
) -> None:
    render = rows.add_render(scratch, "rendering")
    if cancel:
        assert transitions.jobs.cancel_job(scratch, render.job_id) == "requested"
    assert end(scratch, render, state=state, resubmit=resubmit)
    job = job_of(scratch, render)
    expected = "cancelled" if cancel else "queued" if resubmit else "failed"
    assert (job["state"], job["error_code"]) == (expected, REASON[0])
    assert rows.kinds(scratch, job_id=render.job_id)[-2:] == [f"prediction.{state}", f"job.{expected}"]
    now = scratch.execute(text("SELECT now()")).scalar_one()
    assert job["due_at"] == (now + 5 * SECOND if expected == "queued" else None)


def test_a_job_is_bought_anew_until_its_attempts_are_used_up(scratch: Session) -> None:
    account, job = rows.add_account(scratch), rows.add_job(scratch, "rendering", max_attempts=3)
    states = []
    for _ in range(3):
        rows.change(scratch, "job", job, state="rendering")
        prediction = rows.add_prediction(scratch, job, account, "rendering")
        assert end(scratch, Render(account, job, prediction))
        states.append(rows.read(scratch, "job", job)["state"])
    assert states == ["queued", "queued", "failed"]


@pytest.mark.parametrize("earlier", sorted(frozenset(PredictionState) - LIVE))
def test_only_what_was_bought_as_its_render_consumes_an_attempt(scratch: Session, earlier: str) -> None:
    account, job = rows.add_account(scratch), rows.add_job(scratch, "rendering", max_attempts=2)
    rows.add_prediction(scratch, job, account, earlier)
    prediction = rows.add_prediction(scratch, job, account, "rendering")
    assert end(scratch, Render(account, job, prediction))
    assert rows.read(scratch, "job", job)["state"] == ("queued" if earlier in NOTHING_BOUGHT else "failed")


def test_a_watch_window_that_ends_is_no_outcome(scratch: Session) -> None:
    late = rows.add_render(scratch, "rendering", claim=2, due_at=-SECOND)
    in_time = rows.add_render(scratch, "rendering")
    now = scratch.execute(text("SELECT now()")).scalar_one()
    for window, minutes in enumerate((10, 20, 40, 80, 160, 320, 320), start=1):
        (watch,) = transitions.renders.requeue_timed_out(scratch, watch_window=10 * MINUTE, count=5)
        assert (watch.prediction_id, watch.claim, watch.windows) == (late.prediction_id, 2 + window, window)
        assert prediction_of(scratch, late)["due_at"] == now + minutes * MINUTE
        rows.change(scratch, "prediction", late.prediction_id, due_at=-SECOND)
    assert prediction_of(scratch, late)["state"] == "rendering"
    assert prediction_of(scratch, in_time)["watch_windows"] == 0
    reported = rows.list_events(scratch, prediction_id=late.prediction_id)[0]
    assert reported["kind"] == "watch.timed_out"
    assert reported["detail"] == {"window": 1, "provider_id": prediction_of(scratch, late)["provider_id"]}


def test_a_check_of_an_earlier_window_moves_nothing_and_the_next_one_does(scratch: Session) -> None:
    render = rows.add_render(scratch, "rendering", due_at=-SECOND)
    (watch,) = transitions.renders.requeue_timed_out(scratch, watch_window=MINUTE, count=5)
    assert not transitions.renders.complete_prediction(scratch, render.prediction_id, render.claim, outputs=[OUTPUT])
    assert transitions.renders.complete_prediction(scratch, render.prediction_id, watch.claim, outputs=[OUTPUT])


def test_answers_that_make_no_sense_are_reported_once_until_they_do(scratch: Session) -> None:
    render = rows.add_render(scratch, "rendering")
    note = [
        transitions.renders.note_inconsistent(scratch, render.prediction_id, render.claim, message="?")
        for _ in range(2)
    ]
    clear = [transitions.renders.clear_inconsistent(scratch, render.prediction_id, render.claim) for _ in range(2)]
    assert (note, clear) == ([True, False], [True, False])
    assert rows.kinds(scratch, prediction_id=render.prediction_id) == ["prediction.inconsistent"]


def test_failed_checks_hold_the_account_once_and_are_forgotten_later(scratch: Session) -> None:
    account = rows.add_account(scratch)
    assert transitions.accounts.note_check_failure(scratch, account, delay=MINUTE)
    assert not transitions.accounts.note_check_failure(scratch, account, delay=5 * MINUTE)
    assert transitions.accounts.count_check_failures(scratch, account) == 1
    rows.change(scratch, "account", account, check_back_off_until=-SECOND)
    assert not transitions.accounts.clear_check_failures(scratch, account, quiet_for=MINUTE)
    assert transitions.accounts.note_check_failure(scratch, account, delay=NOW)
    assert transitions.accounts.count_check_failures(scratch, account) == 2
    rows.change(scratch, "account", account, check_back_off_until=-2 * MINUTE)
    assert transitions.accounts.clear_check_failures(scratch, account, quiet_for=MINUTE)
    assert transitions.accounts.count_check_failures(scratch, account) == 0


def test_a_store_step_is_begun_once_and_knows_its_job(scratch: Session) -> None:
    batch = rows.insert(scratch, "batch", name="pilot", job_count=24)
    job = rows.add_job(scratch, "storing", batch_id=batch, number=7)
    account = rows.add_account(scratch)
    rows.add_prediction(scratch, job, account, "failed")
    prediction = rows.add_prediction(scratch, job, account, "completed")
    claimed = claim_store(scratch)
    assert claimed == ClaimedStore(prediction, job, 1, "pilot/7")
    ticket = transitions.steps.begin_store(scratch, prediction, 1, lease=LEASE)
    assert ticket is not None
    assert (ticket.prediction_id, ticket.outputs, ticket.attempt) == (prediction, [OUTPUT], 1)
    assert (ticket.batch_name, ticket.batch_size, ticket.number) == ("pilot", 24, 7)
    assert transitions.steps.begin_store(scratch, prediction, 1, lease=LEASE) is None


def test_a_store_step_whose_worker_crashed_is_taken_over(scratch: Session) -> None:
    render = rows.add_render(scratch, "completed")
    first = claim_store(scratch)
    assert transitions.steps.begin_store(scratch, render.prediction_id, first.claim, lease=LEASE)
    assert transitions.steps.renew_store(scratch, render.prediction_id, first.claim, lease=LEASE)
    assert transitions.claims.claim_stores(scratch, count=5, lease=LEASE) == []
    rows.change(scratch, "prediction", render.prediction_id, due_at=-SECOND)
    assert transitions.claims.claim_stores(scratch, count=5, lease=LEASE) == []  # before it was taken back
    assert transitions.claims.take_back_stores(scratch, count=5) == [
        CrashedStore(render.prediction_id, render.job_id, 1, 1, False)
    ]
    second = claim_store(scratch)
    assert transitions.steps.begin_store(scratch, render.prediction_id, second.claim, lease=LEASE)
    assert not transitions.steps.renew_store(scratch, render.prediction_id, first.claim, lease=LEASE)
    stale = transitions.steps.finish_store(scratch, render.prediction_id, first.claim, artifacts=[VIDEO])
    assert not stale
    assert rows.count(scratch, "artifact") == 0


@pytest.mark.parametrize("cancel", [True, False])
def test_a_stored_video_ends_the_job_and_is_kept_though_it_was_cancelled(scratch: Session, cancel: bool) -> None:
    render = rows.add_render(scratch, "completed")
    claimed = claim_store(scratch)
    if cancel:
        transitions.jobs.cancel_job(scratch, render.job_id)
    assert transitions.steps.finish_store(scratch, render.prediction_id, claimed.claim, artifacts=[VIDEO, POSTER])
    state = "cancelled" if cancel else "succeeded"
    assert job_of(scratch, render)["state"] == state
    assert rows.count(scratch, "artifact", job_id=render.job_id) == 2
    event = rows.list_events(scratch, job_id=render.job_id)[-1]
    assert (event["kind"], event["detail"]) == (f"job.{state}", {"url": VIDEO.url, "bytes": 7, "sha256": SHA256})


def test_a_delayed_store_step_is_tried_again_later_under_another_claim(scratch: Session) -> None:
    render = rows.add_render(scratch, "completed")
    claimed = claim_store(scratch)
    assert transitions.steps.begin_store(scratch, render.prediction_id, claimed.claim, lease=LEASE)
    assert transitions.steps.delay_store(
        scratch, render.prediction_id, claimed.claim, delay=MINUTE, reason=Reason("full", "no space")
    )
    assert transitions.claims.claim_stores(scratch, count=5, lease=LEASE) == []
    assert prediction_of(scratch, render)["error_code"] == "full"
    rows.change(scratch, "prediction", render.prediction_id, due_at=NOW)
    again = claim_store(scratch)
    ticket = transitions.steps.begin_store(scratch, render.prediction_id, again.claim, lease=LEASE)
    assert ticket is not None
    assert ticket.attempt == 2
    assert rows.list_events(scratch, job_id=render.job_id)[-1]["detail"]["attempt"] == 1


@pytest.mark.parametrize("cancel", [True, False])
def test_a_video_that_cannot_be_had_fails_the_job_and_a_retry_fetches_it(scratch: Session, cancel: bool) -> None:
    render = rows.add_render(scratch, "completed")
    claimed = claim_store(scratch)
    if cancel:
        transitions.jobs.cancel_job(scratch, render.job_id)
    assert transitions.steps.fail_store(
        scratch, render.prediction_id, claimed.claim, reason=Reason("output_expired", "it is gone")
    )
    assert job_of(scratch, render)["state"] == ("cancelled" if cancel else "failed")
    assert transitions.retries.retry_job(scratch, render.job_id) == "storing"
    assert claim_store(scratch).prediction_id == render.prediction_id


def test_unpublished_store_messages_are_due_again(scratch: Session) -> None:
    for _ in range(3):
        rows.add_render(scratch, "completed")
    claimed = transitions.claims.claim_stores(scratch, count=3, lease=LEASE)
    begun = claimed[0]
    assert transitions.steps.begin_store(scratch, begun.prediction_id, begun.claim, lease=LEASE)
    assert transitions.claims.postpone_stores(scratch, claimed, delay=NOW) == 2
    again = transitions.claims.claim_stores(scratch, count=5, lease=LEASE)
    assert {each.job_id for each in again} == {each.job_id for each in claimed[1:]}


def test_the_longest_waiting_is_stored_first(scratch: Session) -> None:
    renders = [rows.add_render(scratch, "completed") for _ in range(3)]
    for render, wait in zip(renders, (1, 3, 2), strict=True):
        rows.change(scratch, "prediction", render.prediction_id, due_at=-wait * SECOND)
    order = [transitions.claims.claim_stores(scratch, count=1, lease=LEASE)[0].job_id for _ in range(3)]
    assert order == [renders[1].job_id, renders[2].job_id, renders[0].job_id]


def test_outputs_are_refreshed_only_where_there_are_some(scratch: Session) -> None:
    completed, failed = rows.add_render(scratch, "completed"), rows.add_render(scratch, "failed")
    assert transitions.steps.refresh_outputs(scratch, completed.prediction_id, outputs=["https://example.com/new.mp4"])
    assert prediction_of(scratch, completed)["outputs"] == ["https://example.com/new.mp4"]
    assert not transitions.steps.refresh_outputs(scratch, failed.prediction_id, outputs=["x"])
