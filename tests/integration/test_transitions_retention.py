"""The end of the provider's retention: told a day before, once, and only then a loss."""

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from models import transitions
from models.transitions.retention import RETENTION, RETENTION_ALERT
from tests import rows
from tests.rows import MINUTE, OUTPUT, Render

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
        transitions.cancel_job(scratch, ended.job_id)
    assert transitions.end_retained(scratch, count=5) == 1
    assert states_of(scratch, kept) == ("rendering", "rendering")
    assert states_of(scratch, ended) == ("lost", "cancelled" if cancel else "failed")
    assert rows.read(scratch, "prediction", ended.prediction_id)["error_code"] == "retention_ended"
    assert rows.read(scratch, "job", ended.job_id)["error_code"] == "retention_ended"
    told = rows.list_events(scratch, prediction_id=ended.prediction_id)
    assert [event["kind"] for event in told] == ["prediction.lost", "job.cancelled" if cancel else "job.failed"]
    assert told[0]["detail"]["code"] == "retention_ended"
    assert transitions.end_retained(scratch, count=5) == 0
    assert not transitions.complete_prediction(scratch, ended.prediction_id, ended.claim, outputs=[OUTPUT])


def test_the_near_end_of_retention_is_told_once_and_forgotten_with_the_verdict(scratch: Session) -> None:
    young, near = render_aged(scratch, ALERTED - MINUTE), render_aged(scratch, ALERTED + MINUTE)
    assert transitions.note_retention_near(scratch, count=5) == 1
    assert transitions.note_retention_near(scratch, count=5) == 0
    assert rows.kinds(scratch, job_id=young.job_id) == []
    (told,) = rows.list_events(scratch, job_id=near.job_id)
    assert told["kind"] == "prediction.retention_near"
    assert told["detail"]["provider_id"] == rows.read(scratch, "prediction", near.prediction_id)["provider_id"]
    assert transitions.complete_prediction(scratch, near.prediction_id, near.claim, outputs=[OUTPUT])
    assert rows.read(scratch, "prediction", near.prediction_id)["error_code"] is None


def test_what_completes_in_its_last_hour_is_no_loss(scratch: Session) -> None:
    render = render_aged(scratch, RETENTION + MINUTE)
    assert transitions.complete_prediction(scratch, render.prediction_id, render.claim, outputs=[OUTPUT])
    assert transitions.end_retained(scratch, count=5) == 0
    assert states_of(scratch, render) == ("completed", "storing")
