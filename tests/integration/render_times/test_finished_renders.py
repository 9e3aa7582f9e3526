"""How long renders take, as the rows teach it: believed by every process, kept by the leader, rebuilt when lost."""

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from models import PredictionState, queries, transitions
from models.db.session import Sessions, transaction
from models.transitions.watching.finished_renders import NewFinishedRender, record_finished
from models.transitions.watching.renders import EndSeen
from rushes.render_times.learned import KEPT, RenderKind, RenderTimes
from rushes.render_times.poll_spacing import RenderTime
from rushes.settings import Settings
from tests.support.rows import OUTPUT, VIDEO_MODEL, add_account, add_job, add_prediction, add_render, count, read

KIND = RenderKind(VIDEO_MODEL, 6)
SHORTEST = 5.0


@pytest.fixture
def settings() -> Settings:
    """The defaults, whatever the environment says."""
    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    return Settings(**(defaults | {"poll_shortest_seconds": SHORTEST}))


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def add_completed(session: Session, *, took: float, ago: float = 1.0, **columns: Any) -> UUID:
    """A render that was found completed some seconds ago, some seconds after it was accepted."""
    values = {"accepted_at": seconds(-ago - took), "ended_at": seconds(-ago)} | columns
    return add_render(session, PredictionState.COMPLETED, **values).prediction_id


def fill(session: Session, renders: int = 60) -> None:
    """Renders of about 20 s, one after the other."""
    account = add_account(session)
    for number in range(renders):
        job = add_job(session, "storing")
        ago, took = number * 30 + 1.0, 20 + number % 5
        times = {"accepted_at": seconds(-ago - took), "ended_at": seconds(-ago), "execution_seconds": took - 0.5}
        add_prediction(session, job, account, PredictionState.COMPLETED, **times)


def median_of(render_time: RenderTime) -> float:
    return next(age for age in (0.5 * step for step in range(1, 2_000)) if render_time.survival(age) < 0.5)


def read_interval(session: Session, prediction_id: UUID) -> tuple[float, float]:
    query = text("SELECT low_seconds, high_seconds FROM finished_render WHERE prediction_id = :id")
    low, high = session.execute(query, {"id": prediction_id}).one()
    return low, high


def test_the_prior_is_believed_before_anything_was_rendered(scratch: Session, settings: Settings) -> None:
    render_times = RenderTimes(settings)
    before = render_times.find_of_kind(KIND)
    render_times.refresh(scratch, records=True)

    assert render_times.find_of_kind(KIND) == before
    assert median_of(before) == pytest.approx(settings.render_median_seconds, rel=0.01)


def test_finished_renders_change_the_belief_about_their_kind_only(scratch: Session, settings: Settings) -> None:
    fill(scratch)
    render_times = RenderTimes(settings)
    render_times.refresh(scratch, records=True)

    assert median_of(render_times.find(VIDEO_MODEL, {"duration": 6})) == pytest.approx(22, abs=2)
    assert median_of(render_times.find(VIDEO_MODEL, {"duration": 10})) > 100
    assert count(scratch, "finished_render") == 60


def test_keeping_renders_again_changes_nothing(scratch: Session, settings: Settings) -> None:
    fill(scratch)
    RenderTimes(settings).refresh(scratch, records=True)
    before = scratch.execute(text("SELECT * FROM finished_render ORDER BY prediction_id")).all()
    RenderTimes(settings).refresh(scratch, records=True)

    assert scratch.execute(text("SELECT * FROM finished_render ORDER BY prediction_id")).all() == before


def test_lost_statistics_are_rebuilt_from_predictions(scratch: Session, settings: Settings) -> None:
    fill(scratch)
    RenderTimes(settings).refresh(scratch, records=True)
    scratch.execute(text("DELETE FROM finished_render"))
    render_times = RenderTimes(settings)
    render_times.refresh(scratch, records=True)

    assert count(scratch, "finished_render") == 60
    assert median_of(render_times.find_of_kind(KIND)) == pytest.approx(22, abs=2)


def test_a_worker_that_does_not_lead_believes_the_same_and_writes_nothing(scratch: Session, settings: Settings) -> None:
    fill(scratch)
    reader, leader = RenderTimes(settings), RenderTimes(settings)
    reader.refresh(scratch)
    assert count(scratch, "finished_render") == 0
    leader.refresh(scratch, records=True)

    assert reader.find_of_kind(KIND) == leader.find_of_kind(KIND)


def test_a_render_ran_still_when_it_was_last_seen_running(scratch: Session, settings: Settings) -> None:
    seen = add_completed(scratch, took=60, seen_running_at=seconds(-1 - 7), execution_seconds=40.0)
    reported = add_completed(scratch, took=60, seen_running_at=seconds(-1 - 30), execution_seconds=55.0)
    unreported = add_completed(scratch, took=60)
    boastful = add_completed(scratch, took=60, execution_seconds=3_600.0)
    RenderTimes(settings).refresh(scratch, records=True)

    assert read_interval(scratch, seen) == pytest.approx((53, 60))
    assert read_interval(scratch, reported) == pytest.approx((55, 60))
    assert read_interval(scratch, unreported) == pytest.approx((60 - SHORTEST, 60))
    assert read_interval(scratch, boastful) == pytest.approx((60, 60))


def test_the_check_that_finds_it_finished_says_what_it_knows(scratch: Session) -> None:
    render = add_render(scratch, "rendering", accepted_at=seconds(-60))
    reported = EndSeen(unseen=seconds(4), execution=seconds(57))
    assert transitions.renders.complete_prediction(scratch, render.prediction_id, 0, outputs=[OUTPUT], seen=reported)

    row = read(scratch, "prediction", render.prediction_id)
    assert row["ended_at"] - row["seen_running_at"] == seconds(4)
    assert row["execution_seconds"] == 57


def test_neither_failures_nor_adopted_renders_are_learned_from(scratch: Session, settings: Settings) -> None:
    add_render(scratch, "failed", accepted_at=seconds(-1))
    add_completed(scratch, took=1, adopted_at=seconds(-2))
    RenderTimes(settings).refresh(scratch, records=True)

    assert count(scratch, "finished_render") == 0


def test_renders_in_flight_are_counted_by_kind_and_age(scratch: Session, settings: Settings) -> None:
    account = add_account(scratch)
    for _ in range(20):
        add_render(scratch, "rendering", account_id=account, accepted_at=seconds(-200))
    render_times = RenderTimes(settings)
    before = render_times.find_of_kind(KIND).survival(200)
    render_times.refresh(scratch)

    assert [each.renders for each in queries.render_times.count_running(scratch)] == [20]
    assert render_times.find_of_kind(KIND).survival(200) > 2 * before


def test_the_newest_renders_of_each_kind_are_kept(scratch: Session, settings: Settings) -> None:
    ids = [add_completed(scratch, took=20, ago=10.0 + number) for number in range(5)]
    now = queries.health.read_clock(scratch)
    renders = [NewFinishedRender(each, VIDEO_MODEL, 6, now - seconds(number), 1, 2) for number, each in enumerate(ids)]
    other = add_completed(scratch, took=20, ago=1e4)
    record_finished(scratch, [*renders, NewFinishedRender(other, VIDEO_MODEL, 8, now - seconds(1e4), 1, 2)], keep=3)

    kept = scratch.scalars(text("SELECT prediction_id FROM finished_render"))
    assert set(kept) == {*ids[:3], other}
    assert KEPT > 400


def test_a_belief_is_kept_while_there_is_little_news(scratch: Session, settings: Settings) -> None:
    fill(scratch)
    render_times = RenderTimes(settings)
    render_times.refresh(scratch, records=True)
    first = render_times.find_of_kind(KIND)
    add_completed(scratch, took=21, ago=0.5)
    render_times.refresh(scratch, records=True)
    assert render_times.find_of_kind(KIND) is first

    for number in range(10):
        add_completed(scratch, took=60, ago=0.1 * number)
    render_times.refresh(scratch, records=True)
    assert render_times.find_of_kind(KIND).survival(50) > first.survival(50)


def test_two_who_lead_at_once_keep_each_render_once(sessions: Sessions, settings: Settings) -> None:
    with transaction(sessions) as session:
        fill(session)
    barrier, failures = threading.Barrier(2), list[Exception]()

    def lead() -> None:
        try:
            barrier.wait(timeout=60)
            with transaction(sessions) as session:
                RenderTimes(settings).refresh(session, records=True)
        except Exception as error:  # noqa: BLE001 - asserted below
            failures.append(error)

    threads = [threading.Thread(target=lead) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert failures == []
    with transaction(sessions) as session:
        assert count(session, "finished_render") == 60
