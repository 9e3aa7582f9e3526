"""Two workers, one row, one winner: each move is made by two sessions at the same instant, ten times over."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from models import DEFAULT_TENANT, ArtifactKind, PredictionState, transitions
from models.db.session import Sessions, transaction
from models.lifecycle import Reason
from models.transitions.jobs import NewBatch, NewJob
from models.transitions.pruning import RemovedRows
from models.transitions.storing.steps import NewArtifact
from tests.support import rows
from tests.support.moves import list_moves
from tests.support.rows import DAY, MINUTE, NOW, SECOND, SHA256, VIDEO_MODEL, Render

ROUNDS = 10
LEASE = timedelta(minutes=10)  # longer than ten rounds take
REASON = Reason("a_code", "some words")
VIDEO = NewArtifact(ArtifactKind.VIDEO, "file:///a.mp4", 7, SHA256)

Setup = Callable[[Session], Render]
Move = Callable[[Session, Render], Any]


class Race(NamedTuple):
    """What both do, to what, and the events that the winner tells."""

    name: str
    setup: Setup
    move: Move
    reported: Sequence[str] = ()


def in_state(state: str, **columns: Any) -> Setup:
    """A render whose prediction is in this state."""
    return lambda session: rows.add_render(session, state, **columns)


def job_in(state: str, **columns: Any) -> Setup:
    """A job in this state without a prediction."""
    return lambda session: Render(rows.add_account(session), job := rows.add_job(session, state, **columns), job)


def account_with(**columns: Any) -> Setup:
    """An account alone."""
    return lambda session: Render(account := rows.add_account(session, **columns), account, account)


def promised(**columns: Any) -> Setup:
    """A batch alone."""

    def add(session: Session) -> Render:
        account = rows.add_account(session)
        name = str(account)
        batch = rows.insert(session, "batch", **{"name": name, "job_count": 1, "finish_by": MINUTE} | columns)
        return Render(account, batch, batch)

    return add


def at_risk(session: Session, render: Render) -> bool:
    return transitions.jobs.note_at_risk(session, render.job_id, {"chance": 0.5})


def on_track(session: Session, render: Render) -> bool:
    return transitions.jobs.note_on_track(session, render.job_id, {"chance": 0.99})


def limited(session: Session) -> Render:
    render = rows.add_render(session, "rendering", account_id=rows.add_account(session, effective_slots=1))
    return rows.add_render(session, "rendering", account_id=render.account_id)


def begun_store(**columns: Any) -> Setup:
    return in_state("completed", begun_at=-MINUTE, due_at=-SECOND, **columns)


def failed_download(**columns: Any) -> Setup:
    """A render whose last download failed a minute ago by the host's fault."""

    def add(session: Session) -> Render:
        render = rows.add_render(session, "completed", **columns)
        failed = {"output_failed_at": -MINUTE, "error_message": "status 403"}
        rows.change(session, "prediction", render.prediction_id, **failed)
        return render

    return add


def failing_host(**columns: Any) -> Setup:
    """An account whose output host has failed several jobs."""

    def add(session: Session) -> Render:
        account = rows.add_account(session, **columns)
        return [failed_download(account_id=account)(session) for _ in range(3)][-1]

    return add


def nothing_to_probe(session: Session) -> Render:
    """An outage, and nothing whose download has failed."""
    rows.change(session, "prediction", output_failed_at=None)
    rows.change(session, "account", outputs_failing_since=None)
    return account_with(outputs_failing_since=-MINUTE)(session)


def unverified() -> Setup:
    """A failed job with a kept file."""

    def add(session: Session) -> Render:
        render = rows.add_render(session, "completed")
        rows.change(session, "job", render.job_id, state="failed", ended_at=NOW, error_code="x")
        rows.change(session, "prediction", render.prediction_id, due_at=None)
        rows.add_artifact(session, render.job_id, render.prediction_id, kind="unverified")
        return render

    return add


def old_job(batch_id: UUID | None = None, **columns: Any) -> Setup:
    """A job that succeeded ten days ago, with a video. `columns` are those of the video."""

    def add(session: Session) -> Render:
        rows.change(session, "artifact", removed_at=NOW, url=None)  # of the rounds before
        account, long_ago = rows.add_account(session), -10 * DAY
        job = rows.add_job(session, "succeeded", ended_at=long_ago, batch_id=batch_id, number=1 if batch_id else None)
        ended = {"ended_at": long_ago, "accepted_at": long_ago, "posted_at": long_ago}
        prediction = rows.add_prediction(session, job, account, "completed", **ended)
        rows.add_artifact(session, job, prediction, created_at=long_ago, **columns)
        return Render(account, job, prediction)

    return add


def old_batch(**columns: Any) -> Setup:
    """A batch with one such job. Its id takes the place of the account's."""

    def add(session: Session) -> Render:
        batch = promised(finish_by=None, **columns)(session).job_id
        return old_job(batch)(session)._replace(account_id=batch)

    return add


def delete_batch(session: Session, render: Render) -> bool:
    return transitions.pruning.delete_batch(session, render.account_id, by="somebody")


def mark_files(session: Session, _: Render) -> int:
    return transitions.pruning.mark_files(session, older_than=DAY, count=10)


def mark_batch_files(session: Session, _: Render) -> int:
    return transitions.pruning.mark_batch_files(session, count=10)


def remove_jobs(session: Session, _: Render) -> RemovedRows | None:
    return transitions.pruning.remove_jobs(session, older_than=DAY, count=10)


def count_ended(session: Session, _: Render) -> int:
    return transitions.pruning.count_ended(session, count=10)


def remove_batches(session: Session, _: Render) -> int:
    return transitions.pruning.remove_batches(session)


def accept(session: Session, render: Render) -> str | None:
    return transitions.submitting.accept_prediction(
        session,
        render.prediction_id,
        provider_id=f"{render.prediction_id} {threading.get_ident()}",
        provider_created_at=None,
        watch_window=MINUTE,
    )


def accept_answer(session: Session, render: Render) -> str | None:
    return transitions.submitting.accept_answer(
        session,
        render.prediction_id,
        provider_id=f"{render.prediction_id} {threading.get_ident()}",
        provider_created_at=None,
        watch_window=MINUTE,
        forecast={"time_left": {}},
    )


def adopt(session: Session, render: Render) -> bool:
    return transitions.purchases.adopt_unconfirmed(
        session, render.prediction_id, provider_id=str(render.prediction_id), watch_window=MINUTE, by="x"
    )


def dismiss(session: Session, render: Render) -> bool:
    return transitions.purchases.dismiss_unconfirmed(session, render.prediction_id, by="x")


def abandon(session: Session, render: Render) -> bool:
    return transitions.purchases.abandon_prediction(session, render.prediction_id, by="x")


def unknown_of(render: Render) -> dict[str, Any]:
    return {"account_id": render.account_id, "provider_id": "p1", "video_model": VIDEO_MODEL, "input": None}


def end(session: Session, render: Render) -> bool:
    return transitions.renders.end_prediction(
        session, render.prediction_id, 0, state=PredictionState.FAILED, reason=REASON, resubmit_after=SECOND
    )


def complete(session: Session, render: Render) -> bool:
    return transitions.renders.complete_prediction(session, render.prediction_id, 0, outputs=["x"])


def finish_store(session: Session, render: Render) -> bool:
    return bool(transitions.steps.finish_store(session, render.prediction_id, 0, artifacts=[VIDEO]))


def begin(session: Session, render: Render) -> Any:
    return transitions.submitting.begin_submit(session, render.prediction_id, 0, lease=LEASE)


def refuse(session: Session, render: Render) -> bool:
    return transitions.submitting.refuse_submit(session, render.prediction_id, 0, reason=REASON, fails_job=True)


def refuse_upload(session: Session, render: Render) -> bool:
    return transitions.uploads.refuse_upload(session, render.prediction_id, 0, reason=REASON, retry_in=None)


def unconfirmed(session: Session, render: Render) -> bool:
    return transitions.submitting.mark_unconfirmed(session, render.prediction_id, 0, message="?")


def cancel(session: Session, render: Render) -> str | None:
    return transitions.jobs.cancel_job(session, render.job_id)


def retry(session: Session, render: Render) -> str | None:
    return transitions.retries.retry_job(session, render.job_id)


def of_jobs(move: Callable[..., Any]) -> Move:
    return lambda session, render: move(session, [render.job_id], by="somebody")


def set_priority(session: Session, job_ids: list[UUID], *, by: str) -> list[UUID]:
    return transitions.jobs.set_priority(session, job_ids, priority=7, by=by)


def admit(session: Session, render: Render) -> int:
    return transitions.admission.admit_jobs(session, render.account_id, count=5)


def claim_stores(session: Session, _: Render) -> Any:
    return transitions.claims.claim_stores(session, count=5, lease=LEASE)


def release(session: Session, render: Render) -> str | None:
    held_at = rows.read(session, "account", render.account_id)["paused_at"]
    return transitions.pauses.release_restored(session, render.account_id, by="x", held_at=held_at or datetime.now(UTC))


POSTED: Any = {"posted_at": -MINUTE}
DISMISSED = ["submission.decided", "prediction.not_found", "job.queued"]
ABANDONED = ["prediction.abandoned", "prediction.lost", "job.queued"]
RACES = [
    Race(
        "admit_jobs",
        job_in("queued"),
        admit,
        ["prediction.created"],
    ),
    Race(
        "claim_submits",
        in_state("submitting", due_at=-SECOND),
        lambda s, r: transitions.admission.claim_submits(s, r.account_id, count=5, lease=LEASE),
    ),
    Race("begin_submit", in_state("submitting"), begin, ["prediction.posted"]),
    Race(
        "unpost_submit",
        in_state("submitting", **POSTED),
        lambda s, r: transitions.submitting.unpost_submit(s, r.prediction_id, 0, detail="x"),
        ["prediction.not_sent"],
    ),
    Race("accept_prediction", in_state("submitting", **POSTED), accept, ["prediction.rendering"]),
    Race("accept_prediction", in_state("unconfirmed"), accept, ["prediction.rendering"]),
    Race("accept_prediction", in_state("not_found"), accept, ["prediction.duplicate"]),
    Race("accept_answer", in_state("submitting", **POSTED), accept_answer, ["prediction.rendering"]),
    Race("refuse_submit", in_state("submitting", **POSTED), refuse, ["prediction.refused", "job.failed"]),
    Race("refuse_upload", in_state("submitting"), refuse_upload, ["prediction.refused", "job.failed"]),
    Race("mark_unconfirmed", in_state("submitting", **POSTED), unconfirmed, ["prediction.unconfirmed"]),
    Race(
        "mark_overdue_unconfirmed",
        in_state("submitting", **POSTED, due_at=-SECOND),
        lambda s, r: transitions.submitting.mark_overdue_unconfirmed(s),
        ["prediction.unconfirmed"],
    ),
    Race("complete_prediction", in_state("rendering"), complete, ["prediction.completed", "job.storing"]),
    Race("complete_prediction", in_state("rendering", is_duplicate=True), complete, ["prediction.completed"]),
    Race("end_prediction", in_state("rendering"), end, ["prediction.failed", "job.queued"]),
    Race("end_prediction", in_state("rendering", is_duplicate=True), end, ["prediction.failed"]),
    Race(
        "requeue_timed_out",
        in_state("rendering", due_at=-SECOND),
        lambda s, r: transitions.renders.requeue_timed_out(s, watch_window=MINUTE, count=5),
        ["watch.timed_out"],
    ),
    Race(
        "end_retained",
        in_state("rendering", accepted_at=-timedelta(days=8)),
        lambda s, r: transitions.retention.end_retained(s, count=5),
        ["prediction.lost", "job.failed"],
    ),
    Race(
        "note_retention_near",
        in_state("rendering", accepted_at=-timedelta(days=6, hours=1)),
        lambda s, r: transitions.retention.note_retention_near(s, count=5),
        ["prediction.retention_near"],
    ),
    Race("note_at_risk", promised(), at_risk, ["batch.at_risk"]),
    Race("note_on_track", promised(at_risk_at=NOW), on_track, ["batch.on_track"]),
    Race(
        "hand_over_unconfirmed",
        in_state("unconfirmed", posted_at=-timedelta(days=8), due_at=NOW),
        lambda s, r: transitions.retention.hand_over_unconfirmed(s, count=5),
        ["prediction.undecidable"],
    ),
    Race(
        "note_inconsistent",
        in_state("rendering"),
        lambda s, r: transitions.renders.note_inconsistent(s, r.prediction_id, 0, message="x"),
        ["prediction.inconsistent"],
    ),
    Race(
        "request_early_checks",
        in_state("rendering"),
        lambda s, r: transitions.renders.request_early_checks(s, [r.prediction_id], quiet_for=MINUTE),
    ),
    Race(
        "note_sweep_lag",
        account_with(),
        lambda s, r: transitions.lists.note_sweep_lag(s, r.account_id, seconds=2.0),
    ),
    Race(
        "note_list_failure",
        account_with(),
        lambda s, r: transitions.lists.note_list_failure(s, r.account_id, elapsed=60.0),
    ),
    Race(
        "note_own_share",
        account_with(),
        lambda s, r: transitions.lists.note_own_share(s, r.account_id, shown=["a-stranger-s"] * 100, unlike=0.05),
    ),
    Race(
        "record_checks",
        account_with(),
        lambda s, r: transitions.lists.record_checks(s, r.account_id, price=0.5, budget=5.0, requests=0),
    ),
    Race(
        "pay_requests",
        account_with(requests_owed=1),
        lambda s, r: transitions.lists.pay_requests(s, r.account_id, count=1),
    ),
    Race(
        "clear_inconsistent",
        in_state("rendering", inconsistent_since=NOW),
        lambda s, r: transitions.renders.clear_inconsistent(s, r.prediction_id, 0),
    ),
    Race(
        "note_webhook",
        in_state("completed"),
        lambda s, r: transitions.renders.note_webhook(s, r.prediction_id, outcome=PredictionState.COMPLETED),
    ),
    Race(
        "take_back_stores",
        begun_store(),
        lambda s, r: transitions.claims.take_back_stores(s, count=5),
        ["store.crashed"],
    ),
    Race(
        "take_back_stores",
        begun_store(store_crashes=2, is_duplicate=True),
        lambda s, r: transitions.claims.take_back_stores(s, count=5),
        ["store.crashed", "duplicate.not_stored"],
    ),
    Race("claim_stores", in_state("completed"), claim_stores),
    Race(
        "begin_store",
        in_state("completed"),
        lambda s, r: transitions.steps.begin_store(s, r.prediction_id, 0, lease=LEASE),
    ),
    Race("begin_next_store", in_state("completed"), lambda s, r: transitions.steps.begin_next_store(s, lease=LEASE)),
    Race(
        "delay_store",
        in_state("completed"),
        lambda s, r: transitions.steps.delay_store(s, r.prediction_id, 0, delay=MINUTE, reason=REASON),
        ["store.delayed"],
    ),
    Race(
        "fail_store",
        in_state("completed"),
        lambda s, r: transitions.steps.fail_store(s, r.prediction_id, 0, reason=REASON),
        ["job.failed"],
    ),
    Race(
        "fail_store",
        in_state("completed", is_duplicate=True, due_at=NOW),
        lambda s, r: transitions.steps.fail_store(s, r.prediction_id, 0, reason=REASON),
        ["duplicate.not_stored"],
    ),
    Race("finish_store", in_state("completed"), finish_store, ["job.succeeded"]),
    Race(
        "finish_store",
        in_state("completed", is_duplicate=True, due_at=NOW),
        finish_store,
        ["duplicate.stored", "job.succeeded"],  # its job is queued
    ),
    Race(
        "claim_probe",
        failing_host(outputs_failing_since=-MINUTE, outputs_probe_at=-SECOND),
        lambda s, r: transitions.claims.claim_probe(s, r.account_id, lease=LEASE),
    ),
    Race(
        "begin_output_outage",
        failing_host(),
        lambda s, r: transitions.output_host.begin_output_outage(s, r.account_id),
        ["account.outputs_failing"],
    ),
    Race(
        "note_output_reached",
        account_with(outputs_failing_since=-MINUTE),
        lambda s, r: transitions.output_host.note_output_reached(s, r.account_id),
        ["account.outputs_back"],
    ),
    Race("end_unprobed_outages", nothing_to_probe, lambda s, _: transitions.output_host.end_unprobed_outages(s)),
    Race(
        "excuse_store",
        in_state("completed", store_crashes=1, claim=1),
        lambda s, r: transitions.steps.excuse_store(s, r.prediction_id, 0, reason=REASON),
        ["store.delayed"],
    ),
    Race(
        "recheck_jobs",
        unverified(),
        lambda s, r: transitions.unverified.recheck_jobs(s, [r.job_id], by="x"),
        ["job.rechecked"],
    ),
    Race(
        "warn_of_giving_up",
        in_state("completed", ended_at=-timedelta(days=5, hours=1)),
        lambda s, _: transitions.unverified.warn_of_giving_up(s, count=5),
        ["store.giving_up_soon"],
    ),
    Race(
        "end_expired_downloads",
        failed_download(ended_at=-timedelta(days=6, hours=1)),
        lambda s, _: transitions.unverified.end_expired_downloads(s, count=5),
        ["job.failed"],
    ),
    Race(
        "hold_restored",
        account_with(epoch=1),
        lambda s, r: transitions.pauses.hold_restored(s, r.account_id, epoch=2, restore_epoch=0, detail="x"),
        ["account.paused"],
    ),
    Race(
        "explain_pause",
        account_with(paused_at=NOW, paused_reason="restore"),
        lambda s, r: transitions.pauses.explain_pause(s, r.account_id, detail="x"),
        ["account.paused"],
    ),
    Race(
        "pause_account",
        account_with(),
        lambda s, r: transitions.pauses.pause_account(s, r.account_id, by="x"),
        ["account.paused"],
    ),
    Race(
        "accept_store",
        account_with(store_marker="a"),
        lambda s, r: transitions.accounts.accept_store(s, r.account_id, by="x"),
        ["account.store_accepted"],
    ),
    Race(
        "record_store_marker",
        account_with(store_marker=None),
        lambda s, r: transitions.accounts.record_store_marker(s, "a"),
        [],
    ),
    Race(
        "release_restored",
        account_with(paused_at=NOW, paused_reason="restore"),
        release,
        ["account.resumed"],
    ),
    Race(
        "resume_account",
        account_with(paused_at=NOW, paused_reason="person"),
        lambda s, r: transitions.pauses.resume_account(s, r.account_id, by="x"),
        ["account.resumed"],
    ),
    Race(
        "insert_posted",
        job_in("queued"),
        lambda s, r: transitions.purchases.insert_posted(s, r.account_id, r.job_id, posted_at=None),
        ["prediction.created"],
    ),
    Race(
        "post_found",
        in_state("submitting"),
        lambda s, r: transitions.purchases.post_found(s, r.prediction_id, posted_at=None),
    ),
    Race(
        "record_duplicate",
        job_in("succeeded"),
        lambda s, r: transitions.purchases.record_duplicate(
            s, r.account_id, r.job_id, provider_id=str(r.job_id), provider_created_at=None, watch_window=MINUTE
        ),
        ["prediction.duplicate"],
    ),
    Race("cancel_job", job_in("queued"), cancel, ["job.cancelled"]),
    Race("cancel_job", in_state("submitting"), cancel, ["prediction.cancelled", "job.cancelled"]),
    Race("cancel_jobs", job_in("queued"), of_jobs(transitions.jobs.cancel_jobs), ["job.cancelled"]),
    Race("set_priority", job_in("queued"), of_jobs(set_priority), ["job.reprioritized"]),
    Race("pause_jobs", job_in("queued"), of_jobs(transitions.jobs.pause_jobs), ["job.paused"]),
    Race("resume_jobs", job_in("queued", paused_at=NOW), of_jobs(transitions.jobs.resume_jobs), ["job.resumed"]),
    Race("retry_jobs", job_in("failed"), of_jobs(transitions.retries.retry_jobs), ["job.retried"]),
    Race("retry_job", job_in("failed"), retry, ["job.retried"]),
    Race("retry_job", job_in("cancelled"), retry, ["job.retried"]),
    Race("delete_batch", old_batch(), delete_batch, ["batch.deleted"]),
    Race("mark_files", old_job(), mark_files),
    Race("mark_batch_files", old_batch(deleted_at=NOW), mark_batch_files),
    Race("remove_jobs", old_job(url=None, removed_at=NOW), remove_jobs),
    Race("count_ended", old_job(url=None, removed_at=NOW), count_ended),
    Race("remove_batches", promised(finish_by=None, deleted_at=-DAY), remove_batches),
    Race(
        "clear_back_off",
        account_with(back_offs=1),
        lambda s, r: transitions.accounts.clear_back_off(s, r.account_id),
        ["account.recovered"],
    ),
    Race(
        "set_overcommit",
        account_with(),
        lambda s, r: transitions.accounts.set_overcommit(s, r.account_id, overcommit=3, quiet_for=MINUTE),
        ["account.overcommit"],
    ),
    Race("raise_slots", limited, lambda s, r: transitions.accounts.raise_slots(s, r.account_id)),
    Race(
        "note_check_failure",
        account_with(),
        lambda s, r: transitions.accounts.note_check_failure(s, r.account_id, delay=MINUTE),
    ),
    Race(
        "clear_check_failures",
        account_with(check_failures=1, check_back_off_until=-MINUTE),
        lambda s, r: transitions.accounts.clear_check_failures(s, r.account_id, quiet_for=SECOND),
    ),
    Race(
        "clear_provider_failures",
        account_with(provider_failures=2),
        lambda s, r: transitions.accounts.clear_provider_failures(s, r.account_id),
    ),
    Race(
        "insert_batch",
        account_with(),
        lambda s, r: transitions.jobs.insert_batch(
            s, NewBatch(DEFAULT_TENANT, str(r.account_id)), [NewJob(VIDEO_MODEL, {"prompt": "x"}, Decimal(1), 0, 3)]
        ),
        ["batch.pushed", "job.pushed"],
    ),
    Race(
        "open_batch",
        account_with(),
        lambda s, r: transitions.filling.open_batch(s, NewBatch(DEFAULT_TENANT, str(r.account_id))),
        ["batch.opened"],
    ),
    Race(
        "seal_batch",
        promised(sealed_at=None),
        lambda s, r: transitions.filling.seal_batch(s, r.job_id),
        ["batch.sealed"],
    ),
    Race(
        "cancel_open_batch",
        promised(sealed_at=None),
        lambda s, r: transitions.filling.cancel_open_batch(s, r.job_id, by="mara"),
        ["batch.cancelled"],
    ),
    Race(
        "mark_not_found",
        in_state("unconfirmed", due_at=NOW, **POSTED),
        lambda s, r: transitions.runs.mark_not_found(s, r.prediction_id, why="x"),
        ["prediction.not_found", "job.queued"],
    ),
    Race("adopt_unconfirmed", in_state("unconfirmed", **POSTED), adopt, ["submission.decided", "prediction.rendering"]),
    Race("dismiss_unconfirmed", in_state("unconfirmed", **POSTED), dismiss, DISMISSED),
    Race("abandon_prediction", in_state("rendering", watch_windows=1), abandon, ABANDONED),
    Race(
        "claim_reconcile",
        in_state("unconfirmed", due_at=-SECOND, **POSTED),
        lambda s, r: transitions.runs.claim_reconcile(s, r.account_id, lease=LEASE),
    ),
    Race(
        "begin_reconcile",
        account_with(reconcile_claim=1),
        lambda s, r: transitions.runs.begin_reconcile(s, r.account_id, 1, lease=LEASE),
    ),
    Race(
        "insert_unknown_predictions",
        account_with(),
        lambda s, r: transitions.runs.insert_unknown_predictions(s, [unknown_of(r)]),
        ["account.unknown_prediction"],
    ),
]
WITHOUT_A_LOSER = {
    "count_back_offs",  # reads
    "end_batches",  # raced in test_transitions_batches.py
    "count_check_failures",
    "count_stale_write",
    "note_provider_failure",  # each counts
    "retry_account",  # now, whoever asked first
    "note_turns",  # only the worker writes its own row
    "advance_epoch",  # each counts
    "owe_requests",
    "count_free_slots",
    "back_off_account",  # the longer wait stands, whoever was first
    "ensure_account",
    "limit_slots",
    "mark_late_files",  # the same mark, whoever makes it
    "find_same_job",
    "find_same_push",  # waits for the other, and finds its batch
    "insert_job",  # new rows
    "begin_upload",  # needs files: test_uploads.py
    "finish_upload",  # the newer address stands
    "keep_uploads",  # the same row, whoever adds it
    "use_uploads",
    "replace_uses",
    "send_again",
    "remove_unused",
    "hand_back_submit",  # nothing but `due_at` changes
    "postpone_stores",
    "postpone_submits",
    "refresh_outputs",
    "renew_inconsistent",  # each call counts
    "renew_store",
    "see_worker",
    "prove_writable",  # changes nothing
    "drop_worker",
    "resign",
    "hold_next_run",
    "keep_unverified",  # the newer file replaces the older one
    "explain_unverified",
    "mark_output_failed",  # a time, whoever writes it
    "note_output_failed",  # each counts
    "note_repeated",
    "postpone_unconfirmed",
    "note_undecided",
    "yield_adoption",  # the answer of one is the unconfirmed submission of the other: test_transitions_reconciling.py
    "lead",  # below: it is raced by name
}


def race(sessions: Sessions, render: Render, *moves: Move) -> list[Any]:
    """Let every move go at the same instant, each in a session of its own that is connected already."""
    start = threading.Barrier(len(moves), timeout=60)

    def run(move: Move) -> Any:
        with transaction(sessions) as session:
            session.connection()
            start.wait()
            return move(session, render)

    with ThreadPoolExecutor(len(moves)) as pool:
        return list(pool.map(run, moves))


def set_up(sessions: Sessions, setup: Setup) -> tuple[Render, int]:
    """The rows to race for, and the newest event before."""
    with transaction(sessions) as session:
        return setup(session), rows.last_event(session)


def kinds_since(sessions: Sessions, newest: int) -> list[str]:
    """The events after this one."""
    with transaction(sessions) as session:
        return [event["kind"] for event in rows.list_events(session, after=newest)]


@pytest.mark.parametrize("contest", RACES, ids=[f"{number}-{each.name}" for number, each in enumerate(RACES)])
def test_only_one_of_two_workers_moves_a_row(sessions: Sessions, contest: Race) -> None:
    for _ in range(ROUNDS):
        render, newest = set_up(sessions, contest.setup)
        outcomes = race(sessions, render, contest.move, contest.move)
        assert sorted(map(bool, outcomes)) == [False, True], outcomes
        assert Counter(kinds_since(sessions, newest)) == Counter(contest.reported)


def test_every_move_has_its_race() -> None:
    assert {each.name for each in RACES} | WITHOUT_A_LOSER == set(list_moves())
    assert not {each.name for each in RACES} & WITHOUT_A_LOSER


def lead_as(holder: str) -> Move:
    return lambda session, _: transitions.leadership.lead(session, holder, lease=MINUTE)


def test_one_of_two_dispatchers_leads(sessions: Sessions) -> None:
    nothing, _ = set_up(sessions, account_with())
    for term in range(1, ROUNDS + 1):
        holders = [f"{term}-a", f"{term}-b"]
        terms = race(sessions, nothing, *map(lead_as, holders))
        assert sorted(terms, key=str) == [term, None]
        with transaction(sessions) as session:
            for holder in holders:
                transitions.leadership.resign(session, holder)


def test_two_cancellations_of_a_posted_job_are_answered_and_reported_once(sessions: Sessions) -> None:
    for _ in range(ROUNDS):
        render, newest = set_up(sessions, in_state("rendering"))
        assert race(sessions, render, cancel, cancel) == ["requested"] * 2
        assert kinds_since(sessions, newest) == ["job.cancel_requested"]


def test_a_job_is_either_cancelled_or_posted(sessions: Sessions) -> None:
    for _ in range(ROUNDS):
        render, newest = set_up(sessions, in_state("submitting"))
        ticket, outcome = race(sessions, render, begin, cancel)
        posted = ticket is not None
        assert outcome == ("requested" if posted else "cancelled")
        assert ("prediction.posted" in kinds_since(sessions, newest)) == posted


def test_a_render_ends_in_one_way(sessions: Sessions) -> None:
    for _ in range(ROUNDS):
        render, newest = set_up(sessions, in_state("rendering"))
        assert sorted(race(sessions, render, complete, end)) == [False, True]
        assert len(kinds_since(sessions, newest)) == 2


def test_an_acceptance_outlives_an_unconfirmed_submission(sessions: Sessions) -> None:
    for _ in range(ROUNDS):
        render, _ = set_up(sessions, in_state("submitting", **POSTED))
        assert race(sessions, render, accept, unconfirmed)[0] == "rendering"
        with transaction(sessions) as session:
            assert rows.read(session, "prediction", render.prediction_id)["state"] == "rendering"


def test_an_unconfirmed_submission_is_decided_in_one_way(sessions: Sessions) -> None:
    for _ in range(ROUNDS):
        render, newest = set_up(sessions, in_state("unconfirmed", **POSTED))
        assert sorted(race(sessions, render, adopt, dismiss)) == [False, True]
        assert kinds_since(sessions, newest).count("submission.decided") == 1


def test_a_render_is_completed_or_abandoned(sessions: Sessions) -> None:
    for _ in range(ROUNDS):
        render, newest = set_up(sessions, in_state("rendering", watch_windows=1))
        completed, abandoned = race(sessions, render, complete, abandon)
        assert completed != abandoned
        assert ("prediction.abandoned" in kinds_since(sessions, newest)) == abandoned


def test_a_refusal_outlives_an_unconfirmed_submission(sessions: Sessions) -> None:
    for _ in range(ROUNDS):
        render, newest = set_up(sessions, in_state("submitting", **POSTED))
        refused, marked_unconfirmed = race(sessions, render, refuse, unconfirmed)
        assert refused
        reported = ["prediction.unconfirmed"] if marked_unconfirmed else []
        assert kinds_since(sessions, newest) == [*reported, "prediction.refused", "job.failed"]


def test_a_job_that_is_cancelled_while_it_is_admitted_is_cancelled(sessions: Sessions) -> None:
    for _ in range(ROUNDS):
        render, _ = set_up(sessions, job_in("queued"))
        race(sessions, render, cancel, admit)
        with transaction(sessions) as session:
            assert rows.read(session, "job", render.job_id)["state"] == "cancelled"
            assert rows.count(session, "prediction", state="submitting") == 0


def test_a_store_step_is_finished_or_taken_over(sessions: Sessions) -> None:
    for _ in range(ROUNDS):
        render, _ = set_up(sessions, in_state("completed"))
        finished, claimed = race(sessions, render, finish_store, claim_stores)
        assert finished == (not claimed)
        with transaction(sessions) as session:
            assert rows.count(session, "artifact", job_id=render.job_id) == int(finished)
