"""Old rows and files: what is removed, what is kept although it is old, and what a removal meets at one instant."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from models import ArtifactKind, PredictionState, transitions
from models.db.session import Sessions, transaction
from models.lifecycle import Reason
from models.queries.accounts.summary import summarise_account
from models.queries.pruning import count_prunable, list_marked_files, list_old_batches
from models.transitions.pruning import RemovedRows
from models.transitions.storing.steps import NewArtifact
from tests.support import rows
from tests.support.rows import DAY, HOUR, MINUTE, NOW, SHA256, Render

AGE = 8 * DAY
LONG_AGO = -10 * DAY
ROUNDS = 10
Act = Callable[[Session], Any]


def add_old_job(session: Session, account: Any = None, **columns: Any) -> Render:
    """A job that failed long ago, with a refunded prediction. `columns` are those of the prediction."""
    account = account or rows.add_account(session)
    job = rows.add_job(session, "failed", ended_at=LONG_AGO)
    return Render(account, job, add_old_prediction(session, job, account, **columns))


def add_old_prediction(session: Session, job: Any, account: Any, state: str = "failed", **columns: Any) -> Any:
    times = dict.fromkeys(("posted_at", "accepted_at", "ended_at", "created_at"), LONG_AGO)
    return rows.add_prediction(session, job, account, state, **times | columns)


def add_old_batch(session: Session, **columns: Any) -> Any:
    return rows.insert(session, "batch", **{"name": "pilot", "job_count": 2, "created_at": LONG_AGO} | columns)


def remove(session: Session, **changes: Any) -> RemovedRows | None:
    return transitions.pruning.remove_jobs(session, **{"older_than": AGE, "count": 100} | changes)


def test_a_job_goes_with_everything_that_belongs_to_it(scratch: Session) -> None:
    render = add_old_job(scratch)
    rows.add_event(scratch, "job.failed", job_id=render.job_id)
    unknown = {"account_id": render.account_id, "video_model": "x"}
    known_id = rows.read(scratch, "prediction", render.prediction_id)["provider_id"]
    transitions.runs.insert_unknown_predictions(
        scratch, [unknown | {"provider_id": known_id}, unknown | {"provider_id": "a stranger"}]
    )
    assert remove(scratch) == RemovedRows(jobs=1, predictions=1, events=1)
    assert rows.count(scratch, "job", id=render.job_id) == rows.count(scratch, "prediction", job_id=render.job_id) == 0
    assert list(scratch.scalars(text("SELECT provider_id FROM unknown_prediction"))) == ["a stranger"]


@pytest.mark.parametrize(
    ("state", "columns"),
    [
        ("rendering", {"ended_at": None, "is_duplicate": True}),
        ("unconfirmed", {"ended_at": None}),
        ("not_found", {"ended_at": -7 * DAY}),
        ("completed", {"is_duplicate": True, "due_at": HOUR}),
        ("completed", {"is_duplicate": True, "ended_at": -7 * DAY}),
    ],
)
def test_a_job_stays_while_something_may_come_of_a_purchase(
    scratch: Session, state: str, columns: dict[str, Any]
) -> None:
    render = add_old_job(scratch)
    add_old_prediction(scratch, render.job_id, render.account_id, state, **columns)
    assert remove(scratch) is None
    assert count_prunable(scratch, older_than=AGE)[:1] + count_prunable(scratch, older_than=AGE)[-1:] == (0, 1)


def test_a_job_stays_until_its_files_are_gone(scratch: Session) -> None:
    render = add_old_job(scratch)
    artifact = rows.add_artifact(scratch, render.job_id, render.prediction_id, created_at=LONG_AGO)
    assert remove(scratch) is None
    assert transitions.pruning.mark_files(scratch, older_than=AGE, count=10) == 1
    assert remove(scratch) is None
    (marked,) = list_marked_files(scratch, count=10)
    transitions.pruning.confirm_removed(scratch, [marked.artifact_id])
    assert marked.artifact_id == artifact
    assert list_marked_files(scratch, count=10) == []
    assert remove(scratch) == RemovedRows(jobs=1, predictions=1, events=0)


def test_a_young_job_and_one_of_a_batch_stay(scratch: Session) -> None:
    young = add_old_job(scratch)
    rows.change(scratch, "job", young.job_id, ended_at=-7 * DAY)
    in_batch = add_old_job(scratch)
    rows.change(scratch, "job", in_batch.job_id, batch_id=add_old_batch(scratch), number=1)
    assert remove(scratch, older_than=DAY) is None
    assert remove(scratch, older_than=None) is None


def test_an_unverified_file_is_only_removed_with_its_batch(scratch: Session) -> None:
    batch = add_old_batch(scratch)
    render = add_old_job(scratch, state="completed")
    rows.change(scratch, "job", render.job_id, batch_id=batch, number=1)
    rows.add_artifact(scratch, render.job_id, render.prediction_id, kind="unverified", created_at=LONG_AGO)
    assert list_old_batches(scratch, older_than=AGE, count=10) == []
    assert transitions.pruning.mark_files(scratch, older_than=AGE, count=10) == 0
    assert count_prunable(scratch, older_than=AGE).unverified == 1

    assert transitions.pruning.delete_batch(scratch, batch, by="mara")
    assert transitions.pruning.mark_batch_files(scratch, count=10) == 1
    assert transitions.unverified.recheck_jobs(scratch, [render.job_id], by="mara") == []
    assert transitions.retries.retry_job(scratch, render.job_id) is None


@pytest.mark.parametrize(
    ("job", "is_due"),
    [
        ({"state": "failed", "ended_at": LONG_AGO}, True),
        ({"state": "failed", "ended_at": -7 * DAY}, False),
        ({"state": "queued"}, False),
    ],
)
def test_a_batch_is_old_once_its_last_job_is(scratch: Session, job: dict[str, Any], is_due: bool) -> None:
    batch = add_old_batch(scratch)
    rows.add_job(scratch, "cancelled", ended_at=LONG_AGO, batch_id=batch, number=1)
    rows.add_job(scratch, batch_id=batch, number=2, **job)
    assert bool(list_old_batches(scratch, older_than=AGE, count=10)) == is_due
    assert transitions.pruning.delete_batch(scratch, batch, by="age", older_than=AGE) == is_due


def test_a_deleted_batch_loses_its_name_last(scratch: Session) -> None:
    batch = add_old_batch(scratch)
    job = rows.add_job(scratch, "failed", ended_at=LONG_AGO, batch_id=batch, number=1)
    assert transitions.pruning.delete_batch(scratch, batch, by="mara")
    assert rows.kinds(scratch, batch_id=batch) == ["batch.deleted"]
    rows.change(scratch, "batch", batch, deleted_at=-DAY)
    assert transitions.pruning.remove_batches(scratch) == 0
    assert remove(scratch, older_than=None) is None  # its files come first
    assert transitions.pruning.mark_batch_files(scratch, count=10) == 0
    assert remove(scratch, older_than=None) == RemovedRows(jobs=1)
    assert rows.count(scratch, "job", id=job) == 0
    rows.change(scratch, "batch", batch, deleted_at=-MINUTE)
    assert transitions.pruning.remove_batches(scratch) == 0
    rows.change(scratch, "batch", batch, deleted_at=-2 * HOUR)
    assert transitions.pruning.remove_batches(scratch) == 1
    assert rows.kinds(scratch, batch_id=batch) == []


def test_a_file_stored_after_the_deletion_is_found_a_day_later(scratch: Session) -> None:
    batch = add_old_batch(scratch)
    render = add_old_job(scratch, state="completed", is_duplicate=True, due_at=NOW)
    rows.change(scratch, "job", render.job_id, batch_id=batch, number=1)
    rows.add_artifact(scratch, render.job_id, render.prediction_id, kind="unverified")
    assert transitions.pruning.delete_batch(scratch, batch, by="mara")
    assert transitions.pruning.mark_batch_files(scratch, count=10) == 0  # it is still being stored
    rows.change(scratch, "prediction", render.prediction_id, due_at=None)
    assert transitions.pruning.mark_batch_files(scratch, count=10) == 0
    rows.change(scratch, "batch", batch, files_removed_at=-2 * DAY)
    assert transitions.pruning.mark_batch_files(scratch, count=10) == 1


def test_a_file_that_a_stale_step_publishes_again_is_removed_again(scratch: Session) -> None:
    render = add_old_job(scratch, state="completed")
    rows.add_artifact(scratch, render.job_id, render.prediction_id, created_at=LONG_AGO)
    video = NewArtifact(ArtifactKind.VIDEO, "file:///again.mp4", 1, SHA256)
    assert transitions.pruning.mark_late_files(scratch, render.prediction_id, [video]) == 0
    transitions.pruning.mark_files(scratch, older_than=AGE, count=10)
    transitions.pruning.confirm_removed(scratch, [each.artifact_id for each in list_marked_files(scratch, count=10)])
    assert transitions.pruning.mark_late_files(scratch, render.prediction_id, [video]) == 1
    assert [each.url for each in list_marked_files(scratch, count=10)] == ["file:///again.mp4"]


@pytest.mark.parametrize(("is_removed", "state"), [(False, "succeeded"), (True, "failed")])
def test_a_job_never_succeeds_with_a_removed_file(scratch: Session, is_removed: bool, state: str) -> None:
    duplicate = add_old_job(scratch, state="completed", is_duplicate=True)
    rows.add_artifact(scratch, duplicate.job_id, duplicate.prediction_id, is_duplicate=True, created_at=LONG_AGO)
    if is_removed:
        assert transitions.pruning.mark_files(scratch, older_than=AGE, count=10) == 1
    rows.change(scratch, "job", duplicate.job_id, state="rendering", ended_at=None)
    own = rows.add_prediction(scratch, duplicate.job_id, duplicate.account_id, "rendering")
    assert transitions.renders.end_prediction(
        scratch, own, 0, state=PredictionState.FAILED, reason=Reason("x", "y"), resubmit_after=None
    )
    assert rows.read(scratch, "job", duplicate.job_id)["state"] == state


@pytest.mark.parametrize("counted", [0, 3, 10])
def test_totals_of_an_account_survive(sessions: Sessions, counted: int) -> None:
    with transaction(sessions) as session:
        account = transitions.accounts.ensure_account(session, "default", slots=2, submits_per_minute=60)
        for state, columns in (
            ("completed", {}),
            ("completed", {"is_duplicate": True}),
            ("failed", {}),
            ("failed", {"error_code": "no_output"}),
            ("lost", {"ended_at": -11 * DAY}),
            ("refused", {"provider_id": None}),
            ("cancelled", {"provider_id": None}),
        ):
            render = add_old_job(session, account, state=state, **columns)
            if state == "completed":
                gone = {"removed_at": NOW, "url": None, "seconds": 6.04}
                rows.add_artifact(session, render.job_id, render.prediction_id, **gone)
        rows.add_render(session, "rendering", account_id=account)
        before = summarise_account(session, "default")
    with transaction(sessions) as session:
        assert transitions.pruning.count_ended(session, count=counted) == min(counted, 5)
        assert summarise_account(session, "default") == before
    with transaction(sessions) as session:
        assert remove(session) == RemovedRows(jobs=7, predictions=7)
    with transaction(sessions) as session:
        assert summarise_account(session, "default") == before
        totals = session.execute(text("SELECT * FROM daily_total ORDER BY day")).mappings().all()
    price, nothing = Decimal("0.36"), Decimal(0)
    assert [(each["spent"], each["refunded"], each["duplicate"]) for each in totals] == [
        (price, nothing, nothing),
        (3 * price, price, price),
    ]
    assert [(each["renders"], each["seconds"], each["duplicates"]) for each in totals] == [
        (0, nothing, 0),
        (2, Decimal("12.08"), 1),
    ]


def test_a_purchase_that_may_still_get_a_video_is_not_counted_yet(scratch: Session) -> None:
    stored, failed = (add_old_job(scratch, state="completed") for _ in range(2))
    storing = add_old_job(scratch, state="completed", due_at=NOW)
    rows.add_render(scratch, "rendering")
    add_old_job(scratch, state="cancelled", provider_id=None)  # a late answer may give it one
    rows.add_artifact(scratch, stored.job_id, stored.prediction_id, seconds=6.04)
    rows.add_artifact(scratch, failed.job_id, failed.prediction_id, kind="unverified")
    assert transitions.pruning.count_ended(scratch, count=10) == 1
    assert rows.read(scratch, "prediction", stored.prediction_id)["counted"]
    assert not rows.read(scratch, "prediction", storing.prediction_id)["counted"]
    assert transitions.pruning.count_ended(scratch, count=10) == 0


def run_at_once(sessions: Sessions, *acts: Act) -> list[Any]:
    """Let all act at the same instant, each in a session of its own."""
    start = threading.Barrier(len(acts), timeout=60)

    def run(act: Act) -> Any:
        with transaction(sessions) as session:
            session.connection()
            start.wait()
            return act(session)

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def set_up(sessions: Sessions, setup: Act) -> Any:
    with transaction(sessions) as session:
        return setup(session)


def test_a_job_is_either_removed_or_retried(sessions: Sessions) -> None:
    for _ in range(ROUNDS):
        render = set_up(sessions, add_old_job)
        removed, state = run_at_once(
            sessions, remove, lambda session, job=render.job_id: transitions.retries.retry_job(session, job)
        )
        assert (removed is None) == (state == "queued")
        with transaction(sessions) as session:
            assert rows.count(session, "job", id=render.job_id) == rows.count(
                session, "prediction", job_id=render.job_id
            )
            assert rows.count(session, "job", id=render.job_id) == (removed is None)
            rows.change(session, "job", state="rendering", ended_at=None, due_at=None)


def test_a_purchase_that_turns_up_late_keeps_its_job(sessions: Sessions) -> None:
    def accept(session: Session, prediction: Any) -> str | None:
        late = {"provider_id": str(prediction), "provider_created_at": None, "watch_window": MINUTE}
        return transitions.submitting.accept_prediction(session, prediction, **late)

    for _ in range(ROUNDS):
        render = set_up(sessions, lambda session: add_old_job(session, state="not_found"))
        removed, state = run_at_once(
            sessions, remove, lambda session, found=render.prediction_id: accept(session, found)
        )
        assert (removed is None) == (state is not None)
        with transaction(sessions) as session:
            assert rows.count(session, "prediction", id=render.prediction_id, is_duplicate=True) == (removed is None)
            assert rows.count(session, "job", id=render.job_id) == (removed is None)


def test_a_batch_is_either_deleted_or_a_job_of_it_is_retried(sessions: Sessions) -> None:
    for number in range(ROUNDS):
        batch = set_up(sessions, lambda session, name=f"batch-{number}": add_old_batch(session, name=name))
        job = set_up(sessions, lambda session, batch=batch: rows.add_job(session, "failed", batch_id=batch, number=1))
        deleted, state = run_at_once(
            sessions,
            lambda session, batch=batch: transitions.pruning.delete_batch(session, batch, by="mara"),
            lambda session, job=job: transitions.retries.retry_job(session, job),
        )
        assert deleted == (state is None)


def test_two_at_once_count_every_prediction_once(sessions: Sessions) -> None:
    def add_jobs(session: Session) -> None:
        account = rows.add_account(session)
        for _ in range(30):
            add_old_job(session, account, state="lost")

    for number in range(1, ROUNDS + 1):
        set_up(sessions, add_jobs)
        for _ in range(10):
            count: Act = lambda session: transitions.pruning.count_ended(session, count=7)  # noqa: E731
            run_at_once(sessions, count, *[lambda session: remove(session, count=20)] * 3)
        with transaction(sessions) as session:
            assert rows.count(session, "job") == 0
            spent = session.execute(text("SELECT sum(spent) FROM daily_total")).scalar_one()
        assert spent == number * 30 * Decimal("0.36")


def test_age_is_counted_from_the_end(scratch: Session) -> None:
    render = add_old_job(scratch)
    for age, is_removed in ((10 * DAY + timedelta(seconds=5), False), (10 * DAY - timedelta(seconds=5), True)):
        assert bool(remove(scratch, older_than=age)) == is_removed
    assert rows.count(scratch, "job", id=render.job_id) == 0
