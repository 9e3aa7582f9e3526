"""Submitting, exactly once: what may be posted, what its answer moves, and what a person's cancel does meanwhile."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import PredictionState, transitions
from models.lifecycle import LIVE, Reason
from models.transitions.admission import RATE_SLOT_TOLERANCE, ClaimedSubmit
from models.transitions.submitting import DUPLICATE
from tests.support import rows
from tests.support.rows import MINUTE, NOW, SECOND, Render

LEASE = timedelta(seconds=90)
WINDOW = timedelta(minutes=10)
STAMP = datetime(2026, 11, 1, 12, tzinfo=UTC)


def begin(session: Session, render: Render) -> transitions.submitting.SubmitTicket | None:
    return transitions.submitting.begin_submit(session, render.prediction_id, render.claim, lease=LEASE)


def accept(session: Session, render: Render, provider_id: str = "p-1") -> str | None:
    return transitions.submitting.accept_prediction(
        session, render.prediction_id, provider_id=provider_id, provider_created_at=STAMP, watch_window=WINDOW
    )


def prediction_of(session: Session, render: Render) -> Any:
    return rows.read(session, "prediction", render.prediction_id)


def job_of(session: Session, render: Render) -> Any:
    return rows.read(session, "job", render.job_id)


def test_a_claimed_submission_is_begun_once(scratch: Session) -> None:
    render = rows.add_render(scratch, "submitting", claim=4)
    ticket = begin(scratch, render)
    assert ticket is not None
    assert (ticket.prediction_id, ticket.job_id, ticket.account_id) == (
        render.prediction_id,
        render.job_id,
        render.account_id,
    )
    assert ticket.input == job_of(scratch, render)["input"]
    prediction = prediction_of(scratch, render)
    assert prediction["due_at"] - prediction["posted_at"] == pytest.approx(LEASE, abs=SECOND)
    assert begin(scratch, render) is None
    assert rows.kinds(scratch, prediction_id=render.prediction_id) == ["prediction.posted"]


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        ("job", {"cancel_requested_at": NOW}),
        ("account", {"back_off_until": SECOND}),
        ("prediction", {"not_before": -RATE_SLOT_TOLERANCE - SECOND}),
        ("prediction", {"not_before": None}),
        ("prediction", {"claim": 5}),
        ("prediction", {"posted_at": NOW}),
        ("prediction", {"posted_at": NOW, "state": "unconfirmed"}),
    ],
    ids=["cancelled", "account backed off", "too late", "no place", "stale claim", "posted", "unconfirmed"],
)
def test_a_post_is_refused_where_a_row_forbids_it(
    scratch: Session, monkeypatch: pytest.MonkeyPatch, table: str, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr("models.transitions.submitting.RATE_SLOT_TOLERANCE", RATE_SLOT_TOLERANCE)
    render = rows.add_render(scratch, "submitting", claim=4)
    row_id = {"job": render.job_id, "account": render.account_id, "prediction": render.prediction_id}[table]
    rows.change(scratch, table, row_id, **changes)
    before = rows.read_everything(scratch)
    assert begin(scratch, render) is None
    assert rows.read_everything(scratch) == before


def test_a_post_is_allowed_when_the_back_off_has_passed(scratch: Session) -> None:
    render = rows.add_render(scratch, "submitting")
    rows.change(scratch, "account", render.account_id, back_off_until=-SECOND, back_offs=3)
    assert begin(scratch, render) is not None


def test_a_submission_that_was_not_begun_gives_its_place_back(scratch: Session) -> None:
    render = rows.add_render(scratch, "submitting", not_before=-3 * SECOND, due_at=MINUTE)
    assert transitions.submitting.hand_back_submit(scratch, render.prediction_id, render.claim)
    prediction = prediction_of(scratch, render)
    assert prediction["not_before"] is None
    assert len(transitions.admission.claim_submits(scratch, render.account_id, count=1, lease=LEASE)) == 1


def test_a_submission_that_is_handed_back_waits_for_the_back_off(scratch: Session) -> None:
    render = rows.add_render(scratch, "submitting")
    rows.change(scratch, "account", render.account_id, back_off_until=MINUTE)
    assert transitions.submitting.hand_back_submit(scratch, render.prediction_id, render.claim)
    assert (
        prediction_of(scratch, render)["due_at"] == rows.read(scratch, "account", render.account_id)["back_off_until"]
    )


def test_a_submission_that_was_begun_cannot_be_handed_back(scratch: Session) -> None:
    render = rows.add_render(scratch, "submitting")
    assert begin(scratch, render)
    assert not transitions.submitting.hand_back_submit(scratch, render.prediction_id, render.claim)


def test_a_submission_that_was_surely_not_sent_is_posted_again(scratch: Session) -> None:
    render = rows.add_render(scratch, "submitting")
    assert begin(scratch, render)
    assert transitions.submitting.unpost_submit(
        scratch, render.prediction_id, render.claim, detail="connection refused"
    )
    assert rows.kinds(scratch, prediction_id=render.prediction_id)[-1] == "prediction.not_sent"
    (claimed,) = transitions.admission.claim_submits(scratch, render.account_id, count=5, lease=LEASE)
    assert claimed.claim == render.claim + 1
    assert begin(scratch, render) is None
    assert begin(scratch, render._replace(claim=claimed.claim)) is not None


@pytest.mark.parametrize("step_by_step", [True, False])
def test_a_cancelled_job_ends_though_its_post_was_never_sent(scratch: Session, step_by_step: bool) -> None:
    """The request came while the POST was on its way; the POST then turned out not to have been sent."""
    render = rows.add_render(scratch, "submitting")
    assert begin(scratch, render)
    assert transitions.jobs.cancel_job(scratch, render.job_id) == "requested"
    assert transitions.submitting.unpost_submit(scratch, render.prediction_id, render.claim, detail="no route to host")
    if step_by_step:
        for claimed in transitions.admission.claim_submits(scratch, render.account_id, count=5, lease=LEASE):
            render = render._replace(claim=claimed.claim)
            assert begin(scratch, render) is None
            transitions.submitting.hand_back_submit(scratch, render.prediction_id, claimed.claim)
    else:
        transitions.submitting.hand_back_submit(scratch, render.prediction_id, render.claim)
    assert job_of(scratch, render)["state"] == "cancelled"
    assert prediction_of(scratch, render)["state"] == "cancelled"
    assert rows.kinds(scratch, job_id=render.job_id)[-2:] == ["prediction.cancelled", "job.cancelled"]
    assert transitions.admission.claim_submits(scratch, render.account_id, count=5, lease=LEASE) == []


def test_unpublished_messages_give_their_places_back(scratch: Session) -> None:
    account = rows.add_account(scratch)
    renders = [rows.add_render(scratch, "submitting", account_id=account, due_at=NOW) for _ in range(3)]
    claimed = transitions.admission.claim_submits(scratch, account, count=3, lease=LEASE)
    begun = Render(account, claimed[0].job_id, claimed[0].prediction_id, claimed[0].claim)
    assert begin(scratch, begun)
    assert transitions.submitting.postpone_submits(scratch, claimed, delay=NOW) == 2
    assert prediction_of(scratch, begun)["posted_at"] is not None
    again = transitions.admission.claim_submits(scratch, account, count=5, lease=LEASE)
    assert {each.prediction_id for each in again} == {each.prediction_id for each in renders} - {begun.prediction_id}


@pytest.mark.parametrize("claim_off_by", [0, 3])
@pytest.mark.parametrize(
    ("before", "became"),
    [("submitting", "rendering"), ("unconfirmed", "rendering"), ("not_found", DUPLICATE), ("refused", DUPLICATE)],
)
def test_an_acceptance_is_a_fact_whatever_the_claim(
    scratch: Session, before: str, became: str, claim_off_by: int
) -> None:
    render = rows.add_render(scratch, before, claim=4)
    rows.change(scratch, "prediction", render.prediction_id, claim=4 + claim_off_by)
    assert accept(scratch, render) == became
    prediction = prediction_of(scratch, render)
    facts = (prediction["state"], prediction["provider_id"], prediction["provider_created_at"])
    assert facts == ("rendering", "p-1", STAMP)
    assert prediction["due_at"] is not None
    assert prediction["is_duplicate"] == (became == DUPLICATE)
    assert rows.kinds(scratch, prediction_id=render.prediction_id) == [f"prediction.{became}"]


@pytest.mark.parametrize("state", sorted(PredictionState))
def test_a_provider_id_is_written_once(scratch: Session, state: str) -> None:
    render = rows.add_render(scratch, state)
    first = prediction_of(scratch, render)["provider_id"]
    outcome = accept(scratch, render, "first")
    assert (outcome is None) == (first is not None)
    known = prediction_of(scratch, render)
    assert known["provider_id"] == first or "first"
    assert accept(scratch, render, "second") is None
    assert prediction_of(scratch, render) == known


def test_a_provider_id_belongs_to_one_prediction_of_an_account(scratch: Session) -> None:
    account = rows.add_account(scratch)
    one, other = (rows.add_render(scratch, "submitting", account_id=account) for _ in range(2))
    elsewhere = rows.add_render(scratch, "submitting")
    assert accept(scratch, one) == accept(scratch, elsewhere) == "rendering"
    with pytest.raises(IntegrityError, match="uq_prediction_account_id_provider_id"):
        accept(scratch, other)


@pytest.mark.parametrize("state", ["not_found", "refused"])
def test_a_purchase_found_late_is_watched_and_holds_a_slot(scratch: Session, state: str) -> None:
    render = rows.add_render(scratch, state)
    anew = rows.add_prediction(scratch, render.job_id, render.account_id, "rendering")
    assert accept(scratch, render) == "duplicate"
    assert rows.read(scratch, "prediction", anew)["state"] == "rendering"
    assert job_of(scratch, render)["state"] == "rendering"
    room = transitions.admission.count_free_slots(scratch, render.account_id)
    assert room is not None
    assert room.free == 98
    assert rows.list_early_checks(scratch) == [render.prediction_id]


@pytest.mark.parametrize("fails_job", [True, False])
@pytest.mark.parametrize("cancel", [True, False])
def test_a_refusal_frees_the_slot_and_says_whose_fault_it_was(scratch: Session, fails_job: bool, cancel: bool) -> None:
    render = rows.add_render(scratch, "submitting")
    assert begin(scratch, render)
    if cancel:
        transitions.jobs.cancel_job(scratch, render.job_id)
    reason = Reason("input_refused", "the prompt is not wanted")
    assert transitions.submitting.refuse_submit(
        scratch, render.prediction_id, render.claim, reason=reason, fails_job=fails_job
    )
    job, prediction = job_of(scratch, render), prediction_of(scratch, render)
    assert prediction["state"] == "refused"
    assert (prediction["error_code"], prediction["error_message"]) == reason
    state = "cancelled" if cancel else "failed" if fails_job else "queued"
    assert job["state"] == state
    assert (job["due_at"] is not None) == (state == "queued")
    assert (job["error_code"] is not None) == fails_job
    assert rows.kinds(scratch, job_id=render.job_id)[-2:] == ["prediction.refused", f"job.{state}"]


def test_a_refusal_before_the_post_moves_nothing(scratch: Session) -> None:
    render = rows.add_render(scratch, "submitting")
    refused = transitions.submitting.refuse_submit(
        scratch, render.prediction_id, render.claim, reason=Reason("x", "y"), fails_job=True
    )
    assert not refused


def test_a_post_without_an_answer_is_unconfirmed_and_never_posted_again(scratch: Session) -> None:
    render = rows.add_render(scratch, "submitting")
    assert begin(scratch, render)
    assert transitions.submitting.mark_unconfirmed(
        scratch, render.prediction_id, render.claim, message="the answer was cut"
    )
    assert prediction_of(scratch, render)["state"] == "unconfirmed"
    assert job_of(scratch, render)["state"] == "rendering"
    assert not transitions.submitting.unpost_submit(scratch, render.prediction_id, render.claim, detail="x")
    assert begin(scratch, render) is None
    assert transitions.admission.claim_submits(scratch, render.account_id, count=5, lease=LEASE) == []
    rows.change(scratch, "prediction", render.prediction_id, due_at=-MINUTE)
    assert transitions.admission.claim_submits(scratch, render.account_id, count=5, lease=LEASE) == []


def test_a_worker_that_crashes_after_its_post_leaves_it_unconfirmed(scratch: Session) -> None:
    crashed = rows.add_render(scratch, "submitting", claim=2, posted_at=-MINUTE, due_at=-SECOND)
    at_work = rows.add_render(scratch, "submitting", posted_at=-SECOND, due_at=MINUTE)
    unposted = rows.add_render(scratch, "submitting", due_at=-SECOND)
    assert transitions.submitting.mark_overdue_unconfirmed(scratch) == [
        ClaimedSubmit(crashed.prediction_id, crashed.job_id, 2)
    ]
    assert prediction_of(scratch, crashed)["state"] == "unconfirmed"
    assert prediction_of(scratch, at_work)["state"] == prediction_of(scratch, unposted)["state"] == "submitting"


def test_a_second_live_prediction_is_refused_by_the_database(scratch: Session) -> None:
    for first in sorted(LIVE):
        for second in sorted(LIVE):
            render = rows.add_render(scratch, first)
            with pytest.raises(IntegrityError, match="uq_prediction_live"), scratch.begin_nested():
                rows.add_prediction(scratch, render.job_id, render.account_id, second)


@pytest.mark.parametrize("ended", sorted(frozenset(PredictionState) - LIVE))
def test_an_ended_prediction_leaves_room_for_the_next(scratch: Session, ended: str) -> None:
    render = rows.add_render(scratch, ended)
    assert rows.add_prediction(scratch, render.job_id, render.account_id, "submitting")
