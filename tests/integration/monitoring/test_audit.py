"""The audit on real Postgres: silent where every promise holds, and each broken promise is found by its name."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from models import DEFAULT_TENANT, Event, transitions
from models.db.session import open_engine, open_sessions
from models.lifecycle import SLOT_WINDOWS, PredictionState, Reason
from models.queries.audit import Crowd, list_crowds
from models.tables.artifact import ArtifactKind
from models.transitions.jobs import NewJob
from models.transitions.storing.steps import NewArtifact
from rushes.artifacts.store import ArtifactStore, open_store
from rushes.monitoring.audit import Books, Finding, audit_files, audit_rows, compare_with_ledger
from tests.support import rows
from tests.support.rows import Render

PRICE = Decimal("0.24")
CONTENT = b"a video"
MINUTE = 60

Break = Callable[[Session, Render], object]


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    engine = open_engine(database_url, pool_size=1)
    with open_sessions(engine)() as opened:
        yield opened
    engine.dispose()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return open_store((tmp_path / "artifacts").as_uri())


def names(findings: list[Finding]) -> set[str]:
    return {finding.name for finding in findings if finding.is_broken}


def accept_one(session: Session) -> Render:
    """A job whose prediction renders as `task-1`."""
    account = transitions.accounts.ensure_account(session, "default", slots=2, submits_per_minute=60)
    job = transitions.jobs.insert_job(
        session,
        NewJob("lightricks/ltx-2-fast/text-to-video", {"prompt": "a"}, PRICE, 0, 3),
        tenant_id=DEFAULT_TENANT,
    ).id
    session.commit()
    transitions.admission.admit_jobs(session, account, count=1)
    (claimed,) = transitions.admission.claim_submits(session, account, count=1, lease=timedelta(seconds=MINUTE))
    session.commit()
    transitions.submitting.begin_submit(session, claimed.prediction_id, claimed.claim, lease=timedelta(seconds=MINUTE))
    transitions.submitting.accept_prediction(
        session,
        claimed.prediction_id,
        provider_id="task-1",
        provider_created_at=None,
        watch_window=timedelta(seconds=MINUTE),
    )
    session.commit()
    return Render(account, job, claimed.prediction_id, claimed.claim)


def succeed_one(session: Session, store: ArtifactStore) -> Render:
    """The same, stored in full."""
    render = accept_one(session)
    prediction = render.prediction_id
    transitions.renders.complete_prediction(session, prediction, 1, outputs=["http://127.0.0.1/video.mp4"])
    session.commit()
    (claimed,) = transitions.claims.claim_stores(session, count=1, lease=timedelta(seconds=MINUTE))
    transitions.steps.begin_store(session, prediction, claimed.claim, lease=timedelta(seconds=MINUTE))
    draft = store.scratch() / "draft"
    draft.write_bytes(CONTENT)
    (url,) = store.publish((draft, "jobs/a.mp4"))
    video = NewArtifact(ArtifactKind.VIDEO, url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    transitions.steps.finish_store(session, prediction, claimed.claim, artifacts=(video,))
    session.commit()
    return render


KEPT = Books(["task-1"], held={}, kept={"task-1": PRICE}, most_unfinished=1)


def test_a_job_that_was_bought_once_and_stored_breaks_nothing(session: Session, store: ArtifactStore) -> None:
    succeed_one(session, store)
    assert not names(audit_rows(session))
    assert not names(audit_files(session, store))
    assert not names(compare_with_ledger(session, KEPT, drained=True))


def test_a_render_under_way_breaks_nothing_on_a_live_system(session: Session) -> None:
    accept_one(session)
    held = Books(["task-1", "task-2"], held={"task-1": PRICE}, kept={})
    assert not names(audit_rows(session))
    assert not names(compare_with_ledger(session, held, drained=False))
    assert names(compare_with_ledger(session, held, drained=True)) == {"every_task_in_a_row", "every_job_ended"}


def change(table: str, **columns: Any) -> Break:
    return lambda session, _: rows.change(session, table, **columns)


def delete(rows_of: str) -> Break:
    return lambda session, _: session.execute(text(f"DELETE FROM {rows_of}"))  # noqa: S608 - a constant


def buy_again(state: str) -> Break:
    return lambda session, render: rows.add_prediction(session, render.job_id, render.account_id, state, price=PRICE)


def see_unknown(session: Session, render: Render) -> None:
    unknown = {"account_id": render.account_id, "provider_id": "task-9", "video_model": "x"}
    transitions.runs.insert_unknown_predictions(session, [unknown])


BREAKS: dict[str, tuple[Break, ...]] = {
    "rendering_has_live": (change("job", state="rendering", ended_at=None),),
    "storing_has_output": (change("prediction", state="failed"), change("job", state="storing", ended_at=None)),
    "succeeded_has_video": (delete("artifact"),),
    "paid_has_video": (delete("artifact"), change("job", state="failed", error_code="x")),
    "live_has_rendering": (change("prediction", state="rendering", ended_at=None),),
    "no_duplicate": (change("prediction", is_duplicate=True),),
    "duplicate_goes_on": (delete("artifact"), change("prediction", is_duplicate=True)),
    "no_unknown_prediction": (see_unknown,),
    "ended_stays_ended": (lambda session, render: rows.add_event(session, "job.queued", job_id=render.job_id),),
    "ends_are_reported": (delete("event WHERE kind = 'job.succeeded'"),),
    "attempts_bounded": (change("job", max_attempts=1), buy_again("failed")),
    "bought_once": (buy_again("lost"),),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_promise_is_found_with_an_example(session: Session, store: ArtifactStore, name: str) -> None:
    render = succeed_one(session, store)
    for break_promise in BREAKS[name]:
        break_promise(session, render)
    finding = next(each for each in audit_rows(session) if each.name == name)
    assert finding.count == 1
    assert len(finding.examples) == 1


def test_a_second_live_prediction_and_more_than_the_slots_are_found(session: Session) -> None:
    render = accept_one(session)
    session.execute(text("DROP INDEX uq_prediction_live"))
    rows.change(session, "account", slots=1)
    assert not names(audit_rows(session))
    buy_again("submitting")(session, render)
    assert names(audit_rows(session)) == {"one_live_prediction", "within_slots"}


def test_a_retry_by_a_person_may_go_on_after_the_end(session: Session) -> None:
    _, job, prediction, claim = accept_one(session)
    transitions.renders.end_prediction(
        session, prediction, claim, state=PredictionState.FAILED, reason=Reason("input", "no"), resubmit_after=None
    )
    session.commit()
    assert transitions.retries.retry_job(session, job) == "queued"
    session.commit()
    assert not names(audit_rows(session))


@pytest.mark.parametrize(
    ("books", "broken"),
    [
        (replace(KEPT, task_ids=["task-1", "task-2"]), {"every_task_in_a_row"}),
        (replace(KEPT, task_ids=[]), {"every_row_has_a_task"}),
        (replace(KEPT, kept={}), {"prices_agree"}),
        (replace(KEPT, held=KEPT.kept, kept={}), {"prices_agree", "held_alike"}),
        (replace(KEPT, most_unfinished=3), {"never_over_slots"}),
    ],
)
def test_books_that_differ_are_distinguished(
    session: Session, store: ArtifactStore, books: Books, broken: set[str]
) -> None:
    succeed_one(session, store)
    assert names(compare_with_ledger(session, books, drained=True)) - {"spent_alike"} == broken


def test_a_crowd_in_the_history_is_found_after_it_has_gone(session: Session, store: ArtifactStore) -> None:
    render = succeed_one(session, store)
    rows.change(session, "account", slots=1)
    assert not names(compare_with_ledger(session, KEPT, drained=True))
    rows.add_event(session, "prediction.created", prediction_id=render.prediction_id)
    rows.change(session, "event", Event.kind == "prediction.created", at=datetime(2020, 1, 1, tzinfo=UTC))
    assert names(compare_with_ledger(session, KEPT, drained=True)) == {"never_over_slots"}


def test_a_slot_that_was_given_back_makes_no_crowd(session: Session) -> None:
    account, _, stuck, claim = accept_one(session)
    for _ in range(SLOT_WINDOWS):
        rows.change(session, "prediction", due_at=rows.NOW)
        transitions.renders.requeue_timed_out(session, watch_window=timedelta(0), count=1)
        session.commit()
    other = rows.add_render(session, "rendering", account_id=account)
    rows.add_event(session, "prediction.created", prediction_id=other.prediction_id)
    rows.change(session, "account", slots=1)
    assert not names(audit_rows(session))
    assert list_crowds(session) == [Crowd("default", most_live=1, allowed=1, given_back=1)]

    assert transitions.renders.complete_prediction(
        session, stuck, claim + SLOT_WINDOWS, outputs=["http://127.0.0.1/video.mp4"]
    )
    session.commit()
    assert list_crowds(session) == [Crowd("default", most_live=1, allowed=1, given_back=1)]

    rows.change(session, "prediction", other.prediction_id, watch_windows=0)
    rows.add_render(session, "rendering", account_id=account)
    assert names(audit_rows(session)) == {"within_slots"}


def test_a_purchase_that_is_found_after_a_restore_makes_no_crowd(session: Session) -> None:
    account = accept_one(session).account_id
    job = transitions.jobs.insert_job(
        session, NewJob("lightricks/ltx-2-retake", {"prompt": "b"}, PRICE, 0, 3), tenant_id=DEFAULT_TENANT
    ).id
    found = transitions.purchases.insert_posted(session, account, job, posted_at=None)
    assert found is not None
    rows.change(session, "account", slots=1)
    session.commit()
    assert not names(audit_rows(session))
    assert list_crowds(session) == [Crowd("default", most_live=1, allowed=1, given_back=0)]


def test_a_changed_and_a_missing_file_are_found(session: Session, store: ArtifactStore) -> None:
    succeed_one(session, store)
    url = session.execute(text("SELECT url FROM artifact")).scalar_one()
    path = store.find_path(url)
    assert path is not None
    path.write_bytes(CONTENT.upper())
    assert names(audit_files(session, store)) == {"files_unchanged"}
    path.unlink()
    assert names(audit_files(session, store)) == {"files_exist"}


def test_a_purchase_after_an_abandoned_one_breaks_nothing(session: Session) -> None:
    render = accept_one(session)
    rows.change(session, "prediction", watch_windows=1)
    assert transitions.purchases.abandon_prediction(session, render.prediction_id, by="somebody")
    session.commit()
    buy_again("failed")(session, render)
    assert not names(audit_rows(session))
    rows.change(session, "prediction", render.prediction_id, error_code="lost")
    rows.change(session, "prediction", state="lost")
    assert names(audit_rows(session)) == {"bought_once"}
