"""The end of the provider's retention: reported a day before, once, and only then a loss, or a person's unconfirmed
submission."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from models import queries, transitions
from models.queries.audit import RULES, Crowd, find_broken, list_crowds
from models.transitions.watching.retention import RETENTION, RETENTION_ALERT, SEARCH
from tests.support import rows
from tests.support.rows import MINUTE, NOW, OUTPUT, SECOND, Render

ALERTED = RETENTION - RETENTION_ALERT


def render_aged(session: Session, age: timedelta) -> Render:
    return rows.add_render(session, "rendering", accepted_at=-age, watch_windows=9)


def states_of(session: Session, render: Render) -> tuple[str, str]:
    return (
        rows.read(session, "prediction", render.prediction_id)["state"],
        rows.read(session, "job", render.job_id)["state"],
    )


@pytest.mark.parametrize("cancel", [True, False])
def test_a_render_is_lost_when_its_retention_ends_and_not_before(scratch: Session, cancel: bool) -> None:
    kept, ended = render_aged(scratch, RETENTION - MINUTE), render_aged(scratch, RETENTION + MINUTE)
    if cancel:
        transitions.jobs.cancel_job(scratch, ended.job_id)
    assert transitions.retention.end_retained(scratch, count=5) == 1
    assert states_of(scratch, kept) == ("rendering", "rendering")
    assert states_of(scratch, ended) == ("lost", "cancelled" if cancel else "failed")
    assert rows.read(scratch, "prediction", ended.prediction_id)["error_code"] == "retention_ended"
    assert rows.read(scratch, "job", ended.job_id)["error_code"] == "retention_ended"
    reported = rows.list_events(scratch, prediction_id=ended.prediction_id)
    assert [event["kind"] for event in reported] == ["prediction.lost", "job.cancelled" if cancel else "job.failed"]
    assert reported[0]["detail"]["code"] == "retention_ended"
    assert transitions.retention.end_retained(scratch, count=5) == 0
    assert not transitions.renders.complete_prediction(scratch, ended.prediction_id, ended.claim, outputs=[OUTPUT])


def test_the_near_end_of_retention_is_reported_once_until_the_outcome(scratch: Session) -> None:
    young, near = render_aged(scratch, ALERTED - MINUTE), render_aged(scratch, ALERTED + MINUTE)
    assert transitions.retention.note_retention_near(scratch, count=5) == 1
    assert transitions.retention.note_retention_near(scratch, count=5) == 0
    assert rows.kinds(scratch, job_id=young.job_id) == []
    (reported,) = rows.list_events(scratch, job_id=near.job_id)
    assert reported["kind"] == "prediction.retention_near"
    assert reported["detail"]["provider_id"] == rows.read(scratch, "prediction", near.prediction_id)["provider_id"]
    assert transitions.renders.complete_prediction(scratch, near.prediction_id, near.claim, outputs=[OUTPUT])
    assert rows.read(scratch, "prediction", near.prediction_id)["error_code"] is None


@pytest.mark.parametrize("foreign_first", [True, False])
def test_the_near_end_of_retention_and_a_foreign_list_each_get_one_report(
    scratch: Session, foreign_first: bool
) -> None:
    near = render_aged(scratch, ALERTED + MINUTE)
    transitions.renders.note_inconsistent(scratch, near.prediction_id, near.claim, message="404")
    for _ in range(3):
        if foreign_first:
            transitions.runs.note_undecided(
                scratch, [near.prediction_id], code="foreign_list", message="another account's"
            )
        transitions.retention.note_retention_near(scratch, count=5)
        if not foreign_first:
            transitions.runs.note_undecided(
                scratch, [near.prediction_id], code="foreign_list", message="another account's"
            )
        assert queries.health.find_health(scratch).foreign == 1
    reported = rows.kinds(scratch, job_id=near.job_id)
    assert sorted(reported) == ["prediction.foreign_list", "prediction.inconsistent", "prediction.retention_near"]


def test_a_render_that_completes_in_its_last_hour_is_no_loss(scratch: Session) -> None:
    render = render_aged(scratch, RETENTION + MINUTE)
    assert transitions.renders.complete_prediction(scratch, render.prediction_id, render.claim, outputs=[OUTPUT])
    assert transitions.retention.end_retained(scratch, count=5) == 0
    assert states_of(scratch, render) == ("completed", "storing")


def unconfirmed_aged(session: Session, age: timedelta, **columns: Any) -> Render:
    return rows.add_render(session, "unconfirmed", posted_at=-age, due_at=NOW, **columns)


def claim_run(session: Session, account_id: UUID) -> int | None:
    rows.change(session, "account", account_id, reconcile_until=None, swept_at=NOW)
    return transitions.runs.claim_reconcile(session, account_id, lease=MINUTE)


def free_slots(session: Session, account_id: UUID) -> int:
    room = transitions.admission.count_free_slots(session, account_id)
    assert room is not None
    return room.free


def test_an_unconfirmed_submission_past_retention_waits_for_a_person(
    scratch: Session,
) -> None:
    old = unconfirmed_aged(scratch, SEARCH + MINUTE, error_code="outcome_unknown")
    young = unconfirmed_aged(scratch, SEARCH - MINUTE)
    assert claim_run(scratch, old.account_id) is not None
    assert transitions.retention.hand_over_unconfirmed(scratch, count=5) == 1
    assert transitions.retention.hand_over_unconfirmed(scratch, count=5) == 0
    assert claim_run(scratch, old.account_id) is None
    assert claim_run(scratch, young.account_id) is not None
    needing = {each.prediction_id: each.needs_person for each in queries.reconciling.list_unconfirmed(scratch)}
    assert needing == {old.prediction_id: True, young.prediction_id: False}
    assert rows.kinds(scratch, job_id=old.job_id) == ["prediction.undecidable"]


def test_a_run_that_began_before_brings_no_old_unconfirmed_submission_back(scratch: Session) -> None:
    old = unconfirmed_aged(scratch, RETENTION + MINUTE)
    transitions.retention.hand_over_unconfirmed(scratch, count=5)
    transitions.runs.postpone_unconfirmed(scratch, {old.prediction_id: -SECOND})
    assert transitions.runs.note_undecided(scratch, [old.prediction_id], code="foreign_list", message="x") == 0
    assert claim_run(scratch, old.account_id) is None
    assert queries.reconciling.list_unconfirmed(scratch)[0].needs_person


@pytest.mark.parametrize(("age", "due_at"), [(SEARCH + MINUTE, NOW), (MINUTE, None)])
def test_no_run_marks_not_found_a_submission_past_retention_or_undecidable(
    scratch: Session, age: timedelta, due_at: timedelta | None
) -> None:
    unconfirmed = rows.add_render(scratch, "unconfirmed", posted_at=-age, due_at=due_at)
    assert not transitions.runs.mark_not_found(scratch, unconfirmed.prediction_id, why="not listed")
    assert states_of(scratch, unconfirmed) == ("unconfirmed", "rendering")
    assert transitions.purchases.dismiss_unconfirmed(scratch, unconfirmed.prediction_id, by="mara")
    assert states_of(scratch, unconfirmed) == ("not_found", "queued")


def test_an_unconfirmed_submission_past_retention_frees_only_its_slot(scratch: Session) -> None:
    account = rows.add_account(scratch, name="old", slots=1)
    old = unconfirmed_aged(scratch, RETENTION + MINUTE, account_id=account)
    rows.add_event(scratch, "prediction.created", prediction_id=old.prediction_id)
    assert free_slots(scratch, account) == 0
    transitions.retention.hand_over_unconfirmed(scratch, count=5)
    assert free_slots(scratch, account) == 1
    summary = queries.summary.summarise_account(scratch, "old")
    assert summary is not None
    assert summary.held == Decimal("0.36")

    rows.add_render(scratch, "rendering", account_id=account)
    assert transitions.purchases.adopt_unconfirmed(
        scratch, old.prediction_id, provider_id="p", watch_window=MINUTE, by="mara"
    )
    assert free_slots(scratch, account) == 0
    within = next(rule for rule in RULES if rule.name == "within_slots")
    assert not find_broken(scratch, within).total
    assert list_crowds(scratch) == [Crowd("old", most_live=1, allowed=1, given_back=1)]


def test_an_old_submission_that_a_person_marks_not_found_is_bought_anew(scratch: Session) -> None:
    old = unconfirmed_aged(scratch, RETENTION + MINUTE)
    transitions.retention.hand_over_unconfirmed(scratch, count=5)
    assert transitions.purchases.dismiss_unconfirmed(scratch, old.prediction_id, by="mara")
    assert states_of(scratch, old) == ("not_found", "queued")


def test_a_limit_below_the_slots_is_raised_past_old_submissions(scratch: Session) -> None:
    account = rows.add_account(scratch, slots=3, effective_slots=2)
    unconfirmed_aged(scratch, RETENTION + MINUTE, account_id=account)
    transitions.retention.hand_over_unconfirmed(scratch, count=5)
    for _ in range(2):
        rows.add_render(scratch, "rendering", account_id=account)
    transitions.accounts.raise_slots(scratch, account)
    assert rows.read(scratch, "account", account)["effective_slots"] == 3
