"""The audit on real Postgres: silent where every promise holds, and each broken promise is found by its name."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from models import transitions
from models.db.session import open_engine, open_sessions
from models.lifecycle import SLOT_WINDOWS, PredictionState, Reason
from models.queries.audit import Crowd, list_crowds
from models.tables.artifact import ArtifactKind
from models.transitions.jobs import NewJob
from models.transitions.storing.steps import NewArtifact
from rushes.artifacts import ArtifactStore, open_store
from rushes.monitoring.audit import Books, Charge, Finding, audit_files, audit_rows, compare_with_ledger
from tests.support import rows

PRICE = Decimal("0.24")
CONTENT = b"a video"
MINUTE = 60


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


def run(session: Session, sql: str, **values: object) -> None:
    session.execute(text(sql), values)
    session.commit()


def accept_one(session: Session) -> tuple[UUID, UUID]:
    """A job whose prediction renders as `task-1`."""
    account = transitions.accounts.ensure_account(session, "default", slots=2, submits_per_minute=60)
    job = transitions.jobs.insert_job(
        session, NewJob("lightricks/ltx-2-fast/text-to-video", {"prompt": "a"}, PRICE, 0, 3)
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
    return job, claimed.prediction_id


def succeed_one(session: Session, store: ArtifactStore) -> tuple[UUID, UUID]:
    """The same, stored in full."""
    job, prediction = accept_one(session)
    transitions.renders.complete_prediction(session, prediction, 1, outputs=["http://127.0.0.1/video.mp4"])
    session.commit()
    (claimed,) = transitions.claims.claim_stores(session, count=1, lease=timedelta(seconds=MINUTE))
    transitions.steps.begin_store(session, prediction, claimed.claim, lease=timedelta(seconds=MINUTE))
    draft = store.scratch() / "draft"
    draft.write_bytes(CONTENT)
    url = store.publish(draft, "jobs/a.mp4")
    video = NewArtifact(ArtifactKind.VIDEO, url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    transitions.steps.finish_store(session, prediction, claimed.claim, artifacts=(video,))
    session.commit()
    return job, prediction


KEPT = Books(["task-1"], [Charge("task-1", "deduct", "done", PRICE)], most_unfinished=1)


def test_a_job_that_was_bought_once_and_stored_breaks_nothing(session: Session, store: ArtifactStore) -> None:
    succeed_one(session, store)
    assert not names(audit_rows(session))
    assert not names(audit_files(session, store))
    assert not names(compare_with_ledger(session, KEPT, drained=True))


def test_a_render_under_way_breaks_nothing_on_a_live_system(session: Session) -> None:
    accept_one(session)
    held = Books(["task-1", "task-2"], [Charge("task-1", "deduct", "pre", PRICE)])
    assert not names(audit_rows(session))
    assert not names(compare_with_ledger(session, held, drained=False))
    assert names(compare_with_ledger(session, held, drained=True)) == {"every_task_in_a_row", "every_job_ended"}


BREAKS = {
    "rendering_has_live": "UPDATE job SET state = 'rendering', ended_at = NULL",
    "storing_has_output": "UPDATE prediction SET state = 'failed'; UPDATE job SET state = 'storing', ended_at = NULL",
    "succeeded_has_video": "DELETE FROM artifact",
    "paid_has_video": "DELETE FROM artifact; UPDATE job SET state = 'failed', error_code = 'x'",
    "live_has_rendering": "UPDATE prediction SET state = 'rendering', ended_at = NULL",
    "no_duplicate": "UPDATE prediction SET is_duplicate = true",
    "duplicate_goes_on": "DELETE FROM artifact; UPDATE prediction SET is_duplicate = true",
    "no_unknown_prediction": "INSERT INTO unknown_prediction (account_id, provider_id, video_model)"
    " SELECT id, 'task-9', 'x' FROM account",
    "ended_stays_ended": "INSERT INTO event (kind, job_id) SELECT 'job.queued', id FROM job",
    "ends_are_reported": "DELETE FROM event WHERE kind = 'job.succeeded'",
    "attempts_bounded": "UPDATE job SET max_attempts = 1;"
    " INSERT INTO prediction (id, job_id, account_id, attempt, price, state, provider_id, ended_at)"
    " SELECT gen_random_uuid(), job_id, account_id, 2, price, 'failed', 'task-2', now() FROM prediction",
    "bought_once": "INSERT INTO prediction (id, job_id, account_id, attempt, price, state, provider_id, ended_at)"
    " SELECT gen_random_uuid(), job_id, account_id, 2, price, 'lost', 'task-2', now() FROM prediction",
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_promise_is_found_with_an_example(session: Session, store: ArtifactStore, name: str) -> None:
    succeed_one(session, store)
    for statement in BREAKS[name].split(";"):
        run(session, statement)
    finding = next(each for each in audit_rows(session) if each.name == name)
    assert finding.count == 1
    assert len(finding.examples) == 1


def test_a_second_live_prediction_and_more_than_the_slots_are_found(session: Session) -> None:
    accept_one(session)
    run(session, "DROP INDEX uq_prediction_live")
    run(session, "UPDATE account SET slots = 1")
    assert not names(audit_rows(session))
    run(
        session,
        "INSERT INTO prediction (id, job_id, account_id, attempt, price)"
        " SELECT gen_random_uuid(), job_id, account_id, 2, price FROM prediction",
    )
    assert names(audit_rows(session)) == {"one_live_prediction", "within_slots"}


def test_a_retry_by_a_person_may_go_on_after_the_end(session: Session) -> None:
    job, prediction = accept_one(session)
    transitions.renders.end_prediction(
        session, prediction, 1, state=PredictionState.FAILED, reason=Reason("input", "no"), resubmit_after=None
    )
    session.commit()
    assert transitions.jobs.retry_job(session, job) == "queued"
    session.commit()
    assert not names(audit_rows(session))


@pytest.mark.parametrize(
    ("books", "broken"),
    [
        (Books([*KEPT.task_ids, "task-2"], KEPT.charges), {"every_task_in_a_row"}),
        (Books([], KEPT.charges), {"every_row_has_a_task"}),
        (Books(["task-1"], [*KEPT.charges, Charge("task-1", "refund", "done", PRICE)]), {"prices_agree"}),
        (Books(["task-1"], [Charge("task-1", "deduct", "pre", PRICE)]), {"prices_agree", "held_alike"}),
        (Books(["task-1"], KEPT.charges, most_unfinished=3), {"never_over_slots"}),
    ],
)
def test_books_that_differ_are_distinguished(
    session: Session, store: ArtifactStore, books: Books, broken: set[str]
) -> None:
    succeed_one(session, store)
    assert names(compare_with_ledger(session, books, drained=True)) - {"spent_alike"} == broken


def test_a_crowd_in_the_history_is_found_after_it_has_gone(session: Session, store: ArtifactStore) -> None:
    succeed_one(session, store)
    run(session, "UPDATE account SET slots = 1")
    assert not names(compare_with_ledger(session, KEPT, drained=True))
    run(session, "INSERT INTO event (kind, prediction_id) SELECT 'prediction.created', id FROM prediction")
    run(session, "UPDATE event SET at = '2020-01-01' WHERE kind = 'prediction.created'")
    assert names(compare_with_ledger(session, KEPT, drained=True)) == {"never_over_slots"}


def test_a_slot_that_was_given_back_makes_no_crowd(session: Session) -> None:
    _, stuck = accept_one(session)
    for _ in range(SLOT_WINDOWS):
        run(session, "UPDATE prediction SET due_at = now()")
        transitions.renders.requeue_timed_out(session, watch_window=timedelta(0), count=1)
        session.commit()
    account = session.execute(text("SELECT id FROM account")).scalar_one()
    other = rows.add_render(session, "rendering", account_id=account)
    run(session, "INSERT INTO event (kind, prediction_id) VALUES ('prediction.created', :id)", id=other.prediction_id)
    run(session, "UPDATE account SET slots = 1")
    assert not names(audit_rows(session))
    assert list_crowds(session) == [Crowd("default", most_live=1, allowed=1, given_back=1)]

    assert transitions.renders.complete_prediction(
        session, stuck, 1 + SLOT_WINDOWS, outputs=["http://127.0.0.1/video.mp4"]
    )
    session.commit()
    assert list_crowds(session) == [Crowd("default", most_live=1, allowed=1, given_back=1)]

    run(session, "UPDATE prediction SET watch_windows = 0 WHERE id = :id", id=other.prediction_id)
    rows.add_render(session, "rendering", account_id=account)
    assert names(audit_rows(session)) == {"within_slots"}


def test_a_purchase_that_is_found_after_a_restore_makes_no_crowd(session: Session) -> None:
    accept_one(session)
    account = session.execute(text("SELECT id FROM account")).scalar_one()
    job = transitions.jobs.insert_job(session, NewJob("lightricks/ltx-2-retake", {"prompt": "b"}, PRICE, 0, 3)).id
    found = transitions.restore.post_for_unknown(session, account, job, prediction_id=None, posted_at=None)
    assert found is not None
    session.commit()
    run(session, "UPDATE account SET slots = 1")
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
    _, prediction = accept_one(session)
    run(session, "UPDATE prediction SET watch_windows = 1")
    assert transitions.operator_decisions.abandon_prediction(session, prediction, by="somebody")
    session.commit()
    again = (
        "INSERT INTO prediction (id, job_id, account_id, attempt, price, state, provider_id, ended_at)"
        " SELECT gen_random_uuid(), job_id, account_id, 2, price, 'failed', 'task-2', now() FROM prediction"
    )
    run(session, again)
    assert not names(audit_rows(session))
    run(session, "UPDATE prediction SET error_code = 'lost' WHERE state = 'lost'; UPDATE prediction SET state = 'lost'")
    assert names(audit_rows(session)) == {"bought_once"}
