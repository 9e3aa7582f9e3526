"""Unconfirmed submissions: what was searched for and found, what a direct answer takes back, and what nobody asked
for."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from models import JobState, PredictionState, queries, transitions
from models.transitions.submitting import DUPLICATE
from tests.support import rows
from tests.support.rows import MINUTE, NOW, SECOND, VIDEO_MODEL, Render

LEASE = timedelta(seconds=30)


def accept(session: Session, render: Render, provider_id: str, *, adopted: bool) -> str | None:
    return transitions.submitting.accept_prediction(
        session,
        render.prediction_id,
        provider_id=provider_id,
        provider_created_at=None,
        watch_window=MINUTE,
        adopted=adopted,
    )


@pytest.fixture
def account(scratch: Session) -> Any:
    return rows.add_account(scratch)


def marked_unconfirmed(session: Session, account: UUID) -> Render:
    return rows.add_render(session, "unconfirmed", account_id=account, posted_at=-SECOND, due_at=-SECOND)


def state_of(session: Session, render: Render) -> Any:
    return rows.read(session, "prediction", render.prediction_id)["state"]


def test_an_unknown_prediction_that_its_job_has_adopted_stays_where_it_is(scratch: Session) -> None:
    account_id = rows.add_account(scratch)
    job_id = rows.add_job(scratch, JobState.RENDERING)
    not_found = rows.add_prediction(scratch, job_id, account_id, "not_found")
    adopter = rows.add_prediction(scratch, job_id, account_id, "rendering", provider_id="found", adopted_at=NOW)
    assert not transitions.purchases.yield_adoption(scratch, not_found, account_id=account_id, provider_id="found")
    assert rows.read(scratch, "prediction", adopter)["state"] == "rendering"


def test_a_direct_answer_takes_an_adoption_back(scratch: Session, account: UUID) -> None:
    adopter, answered = marked_unconfirmed(scratch, account), marked_unconfirmed(scratch, account)
    assert accept(scratch, adopter, "p1", adopted=True) == PredictionState.RENDERING

    assert transitions.purchases.yield_adoption(scratch, answered.prediction_id, account_id=account, provider_id="p1")
    assert accept(scratch, answered, "p1", adopted=False) == PredictionState.RENDERING

    assert state_of(scratch, adopter) == PredictionState.UNCONFIRMED
    row = rows.read(scratch, "prediction", adopter.prediction_id)
    assert (row["provider_id"], row["claim"]) == (None, 1)
    assert rows.kinds(scratch, prediction_id=adopter.prediction_id)[-1] == "prediction.unconfirmed"


def count_free(session: Session, account: UUID) -> int:
    room = transitions.admission.count_free_slots(session, account)
    assert room is not None
    return room.free


@pytest.mark.parametrize(("windows", "kept"), [(0, 0), (2, 0), (3, 3), (4, 4)])
def test_a_submission_that_lost_its_adoption_forgets_that_render(
    scratch: Session, account: UUID, windows: int, kept: int
) -> None:
    adopter, answered = marked_unconfirmed(scratch, account), marked_unconfirmed(scratch, account)
    accept(scratch, adopter, "p1", adopted=True)
    rows.change(scratch, "prediction", adopter.prediction_id, inconsistent_since=-MINUTE, watch_windows=windows)
    before = count_free(scratch, account)

    assert transitions.purchases.yield_adoption(scratch, answered.prediction_id, account_id=account, provider_id="p1")

    row = rows.read(scratch, "prediction", adopter.prediction_id)
    assert (row["inconsistent_since"], row["watch_windows"]) == (None, kept)
    assert count_free(scratch, account) == before  # a slot that was given back stays so


def test_an_adopted_prediction_that_completed_stays_with_its_adopter(scratch: Session, account: UUID) -> None:
    adopter, answered = marked_unconfirmed(scratch, account), marked_unconfirmed(scratch, account)
    accept(scratch, adopter, "p1", adopted=True)
    assert transitions.renders.complete_prediction(scratch, adopter.prediction_id, 0, outputs=["x"])

    assert not transitions.purchases.yield_adoption(
        scratch, answered.prediction_id, account_id=account, provider_id="p1"
    )

    assert state_of(scratch, adopter) == PredictionState.COMPLETED


def test_a_direct_answer_is_never_taken_back(scratch: Session, account: UUID) -> None:
    first, second = marked_unconfirmed(scratch, account), marked_unconfirmed(scratch, account)
    accept(scratch, first, "p1", adopted=False)

    assert not transitions.purchases.yield_adoption(scratch, second.prediction_id, account_id=account, provider_id="p1")
    assert state_of(scratch, first) == PredictionState.RENDERING


def test_a_not_found_job_is_queued_again_and_loses_no_attempt(scratch: Session, account: UUID) -> None:
    render = marked_unconfirmed(scratch, account)

    assert transitions.runs.mark_not_found(scratch, render.prediction_id, why="not listed")

    assert state_of(scratch, render) == PredictionState.NOT_FOUND
    assert rows.read(scratch, "job", render.job_id)["state"] == "queued"
    assert not transitions.runs.mark_not_found(scratch, render.prediction_id, why="not listed")


def test_a_not_found_job_that_was_cancelled_ends(scratch: Session, account: UUID) -> None:
    render = marked_unconfirmed(scratch, account)
    rows.change(scratch, "job", render.job_id, cancel_requested_at=NOW)

    assert transitions.runs.mark_not_found(scratch, render.prediction_id, why="not listed")

    assert rows.read(scratch, "job", render.job_id)["state"] == "cancelled"


def test_a_purchase_that_turns_up_after_not_found_is_a_duplicate(scratch: Session, account: UUID) -> None:
    render = marked_unconfirmed(scratch, account)
    transitions.runs.mark_not_found(scratch, render.prediction_id, why="not listed")

    assert accept(scratch, render, "p1", adopted=True) == DUPLICATE
    assert rows.read(scratch, "job", render.job_id)["state"] == "queued"


def test_an_unknown_prediction_is_reported_once(scratch: Session, account: UUID) -> None:
    unknown_prediction = {
        "account_id": account,
        "provider_id": "p1",
        "video_model": VIDEO_MODEL,
        "input": {"prompt": "x"},
    }

    assert [transitions.runs.insert_unknown_predictions(scratch, [unknown_prediction]) for _ in range(2)] == [
        ["p1"],
        [],
    ]
    assert rows.kinds(scratch, account_id=account) == ["account.unknown_prediction"]


def test_a_run_is_claimed_once_when_an_unconfirmed_submission_is_due(scratch: Session, account: UUID) -> None:
    marked_unconfirmed(scratch, account)
    claim = transitions.runs.claim_reconcile(scratch, account, lease=LEASE)
    assert claim == 1
    assert transitions.runs.claim_reconcile(scratch, account, lease=LEASE) is None

    assert transitions.runs.begin_reconcile(scratch, account, claim, lease=LEASE)
    assert transitions.runs.begin_reconcile(scratch, account, claim, lease=LEASE) is None
    assert not transitions.runs.hold_next_run(scratch, account, claim - 1, pause=SECOND)
    assert transitions.runs.hold_next_run(scratch, account, claim, pause=SECOND, lag_seconds=7.0)
    assert rows.read(scratch, "account", account)["list_lag_seconds"] == 7.0


def test_the_list_lag_is_the_age_of_what_it_does_not_show(scratch: Session, account: UUID) -> None:
    for name, age in (("shown", 50), ("hidden", 20)):
        rows.add_render(
            scratch,
            "rendering",
            account_id=account,
            provider_id=name,
            posted_at=-age * SECOND,
            accepted_at=-age * SECOND,
            provider_created_at=-age * SECOND,
        )
    moment = scratch.execute(text("SELECT now()")).scalar_one()

    lag = queries.reconciling.measure_list_lag(
        scratch, account, listed=["shown"], listed_at=moment, after=moment - timedelta(minutes=5)
    )

    assert 19 < lag < 22
