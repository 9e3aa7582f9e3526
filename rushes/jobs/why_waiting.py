"""Explain why a job waits, and describe an outage of the output host: one text for all interfaces."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy.orm import Session

from models import Job, JobState, Prediction, queries
from models.lifecycle import is_ended
from models.queries.accounts.status import AccountFacts
from models.queries.health import FarmStatus, Health
from models.queries.storing import OutputOutage
from rushes.account_status import ACCOUNT, OK, AccountStatus, Condition, judge_account
from rushes.catalog import find_uploads, get_video_model

STARTING_SECONDS = 10.0
"""A worker that starts leads within this time."""


def describe_outage(outage: OutputOutage) -> str:
    """Describe the outage, its cause and its consequences."""
    probe = f"the next probe is in {max(0.0, outage.next_probe_seconds):.0f} s"
    return (
        f"every download has failed for {outage.seconds:,.0f} s ({outage.failure}); {outage.waiting:,} job(s) wait, "
        f"one download at a time probes the output host, and {probe}"
    )


def describe_slots(farm: FarmStatus) -> str:
    """Describe the slots in use, and apart from them the renders that are submitted beyond the slots."""
    more = f", {farm.overcommitted} waiting at the provider" if farm.overcommitted else ""
    return f"{farm.in_use} of {farm.slots} slots{more}"


def describe_turns(health: Health) -> str:
    """Describe since when the dispatcher's turns fail, and how."""
    return f"every turn of the dispatcher has failed for {health.turns_failing_seconds:,.0f} s ({health.turn_error})"


class WaitReason(StrEnum):
    """What a job waits for, besides the conditions of the account (`Condition`)."""

    NEXT_TURN = "next_turn"  # the dispatcher admits it in its next turn
    SLOT = "slot"
    RATE_LIMIT = "rate_limit"
    BACK_OFF = "back_off"  # the provider has refused a submission
    RETRY_DELAY = "retry_delay"  # its last attempt failed a moment ago
    JOB_PAUSED = "job_paused"
    TOO_EXPENSIVE = "too_expensive"  # it costs more than a whole day's cap
    DUPLICATE = "duplicate"  # its duplicate purchase may still yield a file
    UPLOAD = "upload"  # its file is being sent to the provider
    DISPATCHER = "dispatcher"  # nobody dispatches
    UNCONFIRMED = "unconfirmed"  # the answer to its submission was lost; Rushes searches for it
    DECISION = "decision"  # the same, and a person has to decide
    LATE_RENDER = "late_render"
    RECHECK = "recheck"
    OUTPUT_HOST = "output_host"  # no download succeeds
    STORE_RETRY = "store_retry"  # its last download failed


@dataclass(frozen=True, slots=True)
class JobWait:
    """Why a job makes no progress. `until` is when that ends or is tried again, if known."""

    reason: str  # a `WaitReason` or a `Condition`
    message: str
    until: datetime | None = None
    place: int | None = None  # in the queue, from 1
    starts_at: datetime | None = None  # when its render is expected to start


def explain_wait(session: Session, job: Job, live: Prediction | None) -> JobWait | None:
    """Return why a job waits; None if it makes progress or has ended. `live` is as in `JobView`.

    Of several reasons, this is the one that admission or the schedule acts on first.
    """
    if job.state == JobState.STORING:
        return _explain_storing(live, queries.storing.find_output_outage(session)) if live else None
    if is_ended(JobState(job.state)) or (job.state == JobState.RENDERING and live is None):
        return None
    facts = queries.status.find_account_facts(session, ACCOUNT)
    status = judge_account(facts) if facts else OK
    if live is not None:
        return _explain_live(job, live, status)
    if own := _explain_own(session, job, facts):
        return own
    if not status.is_ok and status.condition is not Condition.SPENDING_CAP:
        return _explain_account(status)
    return _explain_dispatcher(queries.health.find_health(session)) or _explain_queue(session, job, facts)


def explain_next(session: Session, batch_id: UUID | None = None) -> JobWait | None:
    """Return why the next job of the queue, or of a batch, waits; None if none is queued."""
    job = queries.waiting.find_next(session, batch_id)
    return explain_wait(session, job, None) if job is not None else None


def _explain_live(job: Job, live: Prediction, status: AccountStatus) -> JobWait | None:
    """Return why a job with a slot makes no progress."""
    if live.state == "unconfirmed":
        return _explain_unconfirmed(live, status)
    if live.posted_at:
        late = _explain_late(live) if live.watch_windows else None
        return _explain_account(status) if status.stops_checks else late
    if not status.is_ok and status.condition is not Condition.SPENDING_CAP:
        return _explain_account(status)
    if live.not_before is not None or not find_uploads(get_video_model(job.video_model), job.input):
        return None
    return JobWait(WaitReason.UPLOAD, "its file is sent to the provider before it is submitted")


def _explain_account(status: AccountStatus) -> JobWait:
    return JobWait(status.condition.value, f"{status.message}; {status.what_to_do}", status.next_try_at)


def _explain_unconfirmed(live: Prediction, status: AccountStatus) -> JobWait:
    lost = f"the answer to the submission was lost ({live.error_message})"
    message = f"{lost}; Rushes buys again only after the provider's list, or a person, rules out that purchase"
    if status.stops_checks:
        message = f"{message}; {status.message}; {status.what_to_do}"
    return JobWait(WaitReason.DECISION if live.due_at is None else WaitReason.UNCONFIRMED, message, live.due_at)


def _explain_own(session: Session, job: Job, facts: AccountFacts | None) -> JobWait | None:
    """Return the reason that keeps this job out of the queue, whatever the account does."""
    if job.paused_at is not None:
        names = queries.jobs.name_batches(session, [job.batch_id]) if job.batch_id else {}
        again = f"`rushes batch resume {names[job.batch_id]}`" if job.batch_id else "the action `resume`"
        return JobWait(WaitReason.JOB_PAUSED, f"a person paused it at {_spell(job.paused_at)}; {again} continues it")
    duplicate = queries.jobs.find_open_duplicate(session, job.id)
    if duplicate is not None:
        paid = f"its duplicate purchase {duplicate.id} is paid for"
        return JobWait(WaitReason.DUPLICATE, f"{paid}; the job is bought again only if that yields no file")
    if facts is not None and facts.most_today is not None and job.price > facts.most_today:
        cap = f"a whole day's spending cap of ${facts.most_today:.2f}"
        message = f"it costs ${job.price:.2f}, more than {cap}: raise RUSHES_MAX_SPEND_PER_DAY, or cancel the job"
        return JobWait(WaitReason.TOO_EXPENSIVE, message)
    return None


def _explain_late(live: Prediction) -> JobWait:
    late = f"the render outlived {live.watch_windows} watch window(s)"
    again = f", and in any case at {_spell(live.due_at)}" if live.due_at else ""
    return JobWait(WaitReason.LATE_RENDER, f"{late}; it is still checked, less and less often{again}", live.due_at)


def _explain_dispatcher(health: Health) -> JobWait | None:
    if health.turn_error is not None:
        return JobWait(WaitReason.DISPATCHER, describe_turns(health))
    if health.leader is not None:
        return None
    starts = health.workers and (health.leaderless_seconds or 0) < STARTING_SECONDS
    message = "a worker is starting" if starts else "no dispatcher is at work: start a worker"
    return JobWait(WaitReason.DISPATCHER, message)


def _explain_queue(session: Session, job: Job, facts: AccountFacts | None) -> JobWait:
    """Return what the queue waits for up to this job, as the admission counts it."""
    if job.due_at is not None and facts is not None and job.due_at > facts.now:
        last = f": {job.error_message}" if job.error_message else ""
        return JobWait(WaitReason.RETRY_DELAY, f"it is tried again at {_spell(job.due_at)}{last}", job.due_at)
    before = queries.waiting.count_before(session, job)
    place = before.jobs + 1
    survey = queries.dispatching.survey(session, ACCOUNT)
    if facts is not None and facts.most_today is not None:
        capped = judge_account(facts._replace(next_price=before.price + job.price))
        if not capped.is_ok:
            return replace(_explain_account(capped), place=place)
    room = survey.room if survey is not None else None
    if facts is not None and room is not None and (room.is_held or room.back_offs):
        until = facts.back_off_until if room.is_held else None
        message = (
            f"the account backs off ({facts.back_off_detail or facts.back_off_reason}); then one submission probes"
        )
        return JobWait(WaitReason.BACK_OFF, message, until, place)
    if room is not None and before.jobs < room.count_admissible(place):
        return JobWait(WaitReason.NEXT_TURN, "it is next: a slot is free", place=place)
    if room is not None and room.free > room.submits - room.without_place:
        limit = f"{room.submits} of the submissions that the account may make per minute are left"
        until = queries.waiting.find_next_rate_slot(session, survey.account.id) if survey else None
        more = f", and the next one is free at {_spell(until)}" if until else ""
        message = f"waits for the rate limit: {limit}{more}; it is number {place:,}"
        return JobWait(WaitReason.RATE_LIMIT, message, until, place)
    slots = describe_slots(queries.health.find_farm(session))
    return JobWait(WaitReason.SLOT, f"waits for a slot: {slots}; it is number {place:,} in the queue", place=place)


def _explain_storing(output: Prediction, outage: OutputOutage | None) -> JobWait | None:
    if output.rechecks:
        return JobWait(WaitReason.RECHECK, "its unverified file is probed again")
    if outage is not None:
        return JobWait(WaitReason.OUTPUT_HOST, describe_outage(outage))
    if output.error_message is None:
        return None
    again = f" at {_spell(output.due_at)}" if output.due_at else ""
    return JobWait(WaitReason.STORE_RETRY, f"storing is tried again{again}: {output.error_message}", output.due_at)


def _spell(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
