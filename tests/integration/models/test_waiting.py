"""Each waiting job has one reason, and it is the one that the admission acts on."""

from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from models import Job, Prediction, queries, transitions
from models.db.session import transaction
from models.transitions.admission import RATE_WINDOW
from rushes.forecasting.forecaster import UnknownReason
from rushes.jobs.batches import get_batch
from rushes.jobs.why_waiting import JobWait, WaitReason, explain_next, explain_wait
from rushes.runtime import ACCOUNT, Runtime
from tests.support import rows
from tests.support.rows import MINUTE, NOW

IN_THE_QUEUE = {WaitReason.NEXT_TURN, WaitReason.SLOT, WaitReason.RATE_LIMIT}
sometimes = st.sampled_from([None, None, None, NOW])
jobs = st.fixed_dictionaries(
    {
        "priority": st.integers(-1, 1),
        "price": st.sampled_from(["0.24", "0.36", "3.00"]),
        "paused_at": sometimes,
        "due_at": st.sampled_from([NOW, NOW, NOW, 5 * MINUTE]),
    }
)
accounts = st.fixed_dictionaries(
    {
        "slots": st.integers(1, 4),
        "submits_per_minute": st.integers(1, 6),
        "max_spend_per_day": st.sampled_from([None, None, "1.00"]),
        "back_off_until": st.sampled_from([None, None, None, 5 * MINUTE]),
        "paused_at": sometimes,
    }
)


def build(session: Session, account: dict[str, Any], queue: list[dict[str, Any]], live: int) -> UUID:
    """A farm with a leader, `live` renders and these queued jobs."""
    paused = {"paused_reason": "person"} if account["paused_at"] is not None else {}
    backs_off = {"back_offs": 1, "back_off_reason": "rate"} if account["back_off_until"] is not None else {}
    account_id = rows.add_account(session, name=ACCOUNT, **account, **paused, **backs_off)
    transitions.leadership.see_worker(session, "w", queues=["submit", "watch", "store"], threads=4)
    assert transitions.leadership.lead(session, "w", lease=MINUTE)
    for _ in range(live):
        rows.add_render(session, "rendering", account_id=account_id)
    for job in queue:
        rows.add_job(session, **job)
    return account_id


def explain(session: Session) -> dict[UUID, JobWait | None]:
    """The reason of every queued job."""
    return {job.id: explain_wait(session, job, None) for job in session.query(Job).where(Job.state == "queued")}


def admit(session: Session, account_id: UUID) -> set[UUID]:
    """The jobs that an admission takes now; it is undone."""
    savepoint = session.begin_nested()
    room = transitions.admission.count_free_slots(session, account_id)
    assert room is not None
    count = room.count_admissible(1_000)
    transitions.admission.admit_jobs(session, account_id, count=count, spend_left=room.spend_left)
    waiting = set(explain_ids(session))
    savepoint.rollback()
    return set(explain_ids(session)) - waiting


def explain_ids(session: Session) -> list[UUID]:
    session.expire_all()
    return [job.id for job in session.query(Job).where(Job.state == "queued")]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(account=accounts, queue=st.lists(jobs, max_size=8), live=st.integers(0, 3))
def test_a_waiting_job_has_the_reason_that_admission_acts_on(
    scratch: Session, account: dict[str, Any], queue: list[dict[str, Any]], live: int
) -> None:
    savepoint = scratch.begin_nested()
    account_id = build(scratch, account, queue, live)
    found = explain(scratch)
    assert None not in found.values()
    reasons = {job_id: wait.reason for job_id, wait in found.items() if wait}
    assert admit(scratch, account_id) == {each for each, reason in reasons.items() if reason == WaitReason.NEXT_TURN}
    rows.change(scratch, "account", account_id, slots=1_000, submits_per_minute=100_000)
    assert admit(scratch, account_id) == {each for each, reason in reasons.items() if reason in IN_THE_QUEUE}
    first = explain_next(scratch)
    assert (first is None) == (not queue)
    if first is not None and IN_THE_QUEUE & set(reasons.values()):
        assert first.reason in IN_THE_QUEUE
    savepoint.rollback()


def test_paused_jobs_have_no_forecast_and_name_their_command(runtime: Runtime) -> None:
    with transaction(runtime.sessions) as session:
        batch = rows.insert(session, "batch", name="pilot", job_count=1)
        build(session, {"slots": 1, "submits_per_minute": 9, "back_off_until": None, "paused_at": None}, [], 0)
        rows.add_job(session, batch_id=batch, number=1, paused_at=NOW)
    view = get_batch(runtime.sessions, batch, forecaster=runtime.forecaster)
    assert view.wait is not None
    assert (view.wait.reason, view.unknown) == (WaitReason.JOB_PAUSED, UnknownReason.JOB_PAUSED)
    assert "`rushes batch resume pilot`" in view.wait.message


def test_a_place_counts_the_jobs_that_are_admitted_before(scratch: Session) -> None:
    build(scratch, {"slots": 1, "submits_per_minute": 9, "back_off_until": None, "paused_at": None}, [], 1)
    ids = [rows.add_job(scratch, priority=priority) for priority in (0, 5, 0)]
    rows.add_job(scratch, priority=9, paused_at=NOW)
    found = explain(scratch)
    assert [(wait.reason, wait.place) for each in ids if (wait := found[each])] == [
        (WaitReason.SLOT, 2),
        (WaitReason.SLOT, 1),
        (WaitReason.SLOT, 3),
    ]
    assert queries.waiting.find_next(scratch, None).id == ids[1]  # type: ignore[union-attr]


def test_the_next_job_is_the_first_that_can_be_admitted(scratch: Session) -> None:
    limits = {"slots": 1, "submits_per_minute": 9, "max_spend_per_day": "1.00"}
    build(scratch, {**limits, "back_off_until": None, "paused_at": None}, [], 1)
    waiting = {
        WaitReason.JOB_PAUSED: {"priority": 9, "paused_at": NOW},
        WaitReason.TOO_EXPENSIVE: {"priority": 8, "price": "3.00"},
        WaitReason.RETRY_DELAY: {"priority": 7, "due_at": 5 * MINUTE},
        WaitReason.SLOT: {},
    }
    for reason, job in waiting.items():
        rows.add_job(scratch, **job)
        first = explain_next(scratch)
        assert first is not None
        assert first.reason == reason


def test_the_rate_limit_and_a_late_render_name_when_they_go_on(scratch: Session) -> None:
    limits = {"slots": 9, "submits_per_minute": 2, "back_off_until": None, "paused_at": None}
    account_id = build(scratch, limits, [{}], 0)
    for age in (50, 40, 30):
        rows.add_render(scratch, "rendering", account_id=account_id, not_before=-age * rows.SECOND)
    wait, now = explain_next(scratch), scratch.execute(text("SELECT now()")).scalar_one()
    assert wait is not None
    assert (wait.reason, wait.until) == (WaitReason.RATE_LIMIT, now - 40 * rows.SECOND + RATE_WINDOW)
    assert f"free at {wait.until:%Y-%m-%d %H:%M:%S} UTC" in wait.message
    late = rows.add_render(scratch, "rendering", account_id=account_id, watch_windows=1)
    job, live = scratch.get(Job, late.job_id), scratch.get(Prediction, late.prediction_id)
    assert job is not None
    wait = explain_wait(scratch, job, live)
    assert wait is not None
    assert (wait.reason, wait.until) == (WaitReason.LATE_RENDER, now + 10 * MINUTE)
