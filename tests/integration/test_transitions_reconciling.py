"""Doubts: what was looked for and found, what a direct answer takes back, and what nobody asked for."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from models import JobState, PredictionState, queries, transitions
from tests import rows
from tests.rows import MINUTE, NOW, SECOND, VIDEO_MODEL, Render

LEASE = timedelta(seconds=30)


def accept(session: Session, render: Render, provider_id: str, *, adopted: bool) -> str | None:
    return transitions.accept_prediction(
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


def doubted(session: Session, account: UUID) -> Render:
    return rows.add_render(session, "unconfirmed", account_id=account, posted_at=-SECOND, due_at=-SECOND)


def state_of(session: Session, render: Render) -> Any:
    return rows.read(session, "prediction", render.prediction_id)["state"]


def test_an_orphan_that_its_job_has_adopted_stays_where_it_is(scratch: Session) -> None:
    account_id = rows.add_account(scratch)
    job_id = rows.add_job(scratch, JobState.RENDERING)
    absent = rows.add_prediction(scratch, job_id, account_id, "absent")
    adopter = rows.add_prediction(scratch, job_id, account_id, "rendering", provider_id="found", adopted_at=NOW)
    assert not transitions.yield_adoption(scratch, absent, account_id=account_id, provider_id="found")
    assert rows.read(scratch, "prediction", adopter)["state"] == "rendering"


def test_a_direct_answer_takes_an_adoption_back(scratch: Session, account: UUID) -> None:
    adopter, answered = doubted(scratch, account), doubted(scratch, account)
    assert accept(scratch, adopter, "p1", adopted=True) == PredictionState.RENDERING

    assert transitions.yield_adoption(scratch, answered.prediction_id, account_id=account, provider_id="p1")
    assert accept(scratch, answered, "p1", adopted=False) == PredictionState.RENDERING

    assert state_of(scratch, adopter) == PredictionState.UNCONFIRMED
    row = rows.read(scratch, "prediction", adopter.prediction_id)
    assert (row["provider_id"], row["claim"]) == (None, 1)
    assert rows.kinds(scratch, prediction_id=adopter.prediction_id)[-1] == "prediction.unconfirmed"


@pytest.mark.parametrize(("windows", "kept"), [(0, 0), (2, 0), (3, 3), (4, 4)])
def test_a_doubt_that_gave_its_adoption_up_knows_nothing_of_that_render(
    scratch: Session, account: UUID, windows: int, kept: int
) -> None:
    adopter, answered = doubted(scratch, account), doubted(scratch, account)
    accept(scratch, adopter, "p1", adopted=True)
    rows.change(scratch, "prediction", adopter.prediction_id, odd_since=-MINUTE, watch_windows=windows)
    before = transitions.lock_account(scratch, account)

    assert transitions.yield_adoption(scratch, answered.prediction_id, account_id=account, provider_id="p1")

    row = rows.read(scratch, "prediction", adopter.prediction_id)
    assert (row["odd_since"], row["watch_windows"]) == (None, kept)
    assert transitions.lock_account(scratch, account) == before  # a slot that was given back stays so


def test_what_an_adopter_has_ended_with_stays_its_own(scratch: Session, account: UUID) -> None:
    adopter, answered = doubted(scratch, account), doubted(scratch, account)
    accept(scratch, adopter, "p1", adopted=True)
    assert transitions.complete_prediction(scratch, adopter.prediction_id, 0, outputs=["x"])

    assert not transitions.yield_adoption(scratch, answered.prediction_id, account_id=account, provider_id="p1")

    assert state_of(scratch, adopter) == PredictionState.COMPLETED


def test_a_direct_answer_is_never_taken_back(scratch: Session, account: UUID) -> None:
    first, second = doubted(scratch, account), doubted(scratch, account)
    accept(scratch, first, "p1", adopted=False)

    assert not transitions.yield_adoption(scratch, second.prediction_id, account_id=account, provider_id="p1")
    assert state_of(scratch, first) == PredictionState.RENDERING


def test_an_absent_job_is_queued_again_and_loses_no_attempt(scratch: Session, account: UUID) -> None:
    render = doubted(scratch, account)

    assert transitions.mark_absent(scratch, render.prediction_id, why="not listed")

    assert state_of(scratch, render) == PredictionState.ABSENT
    assert rows.read(scratch, "job", render.job_id)["state"] == "queued"
    assert not transitions.mark_absent(scratch, render.prediction_id, why="not listed")


def test_an_absent_job_that_was_cancelled_ends(scratch: Session, account: UUID) -> None:
    render = doubted(scratch, account)
    rows.change(scratch, "job", render.job_id, cancel_requested_at=NOW)

    assert transitions.mark_absent(scratch, render.prediction_id, why="not listed")

    assert rows.read(scratch, "job", render.job_id)["state"] == "cancelled"


def test_what_turns_up_after_absent_is_a_surplus(scratch: Session, account: UUID) -> None:
    render = doubted(scratch, account)
    transitions.mark_absent(scratch, render.prediction_id, why="not listed")

    assert accept(scratch, render, "p1", adopted=True) == PredictionState.SURPLUS
    assert rows.read(scratch, "job", render.job_id)["state"] == "queued"


def test_an_orphan_is_told_of_once(scratch: Session, account: UUID) -> None:
    orphan = {"account_id": account, "provider_id": "p1", "video_model": VIDEO_MODEL, "input": {"prompt": "x"}}

    assert [transitions.insert_orphans(scratch, [orphan]) for _ in range(2)] == [["p1"], []]
    assert rows.kinds(scratch, account_id=account) == ["account.orphan"]


def test_a_pass_is_claimed_when_a_doubt_is_due_and_never_by_two(scratch: Session, account: UUID) -> None:
    doubted(scratch, account)
    claim = transitions.claim_reconcile(scratch, account, lease=LEASE)
    assert claim == 1
    assert transitions.claim_reconcile(scratch, account, lease=LEASE) is None

    assert transitions.begin_reconcile(scratch, account, claim, lease=LEASE)
    assert transitions.begin_reconcile(scratch, account, claim, lease=LEASE) is None
    assert not transitions.finish_reconcile(scratch, account, claim - 1, pause=SECOND)
    assert transitions.finish_reconcile(scratch, account, claim, pause=SECOND, lag_seconds=7.0)
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

    lag = queries.measure_list_lag(
        scratch, account, listed=["shown"], listed_at=moment, after=moment - timedelta(minutes=5)
    )

    assert 19 < lag < 22
