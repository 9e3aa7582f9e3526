"""Explain why a job waits, and describe an outage of the output host: one text for all interfaces."""

from sqlalchemy.orm import Session

from models import Job, JobState, Prediction, queries
from models.lifecycle import is_ended
from models.queries.accounts.status import AccountFacts
from models.queries.health import FarmStatus, Health
from models.queries.storing import OutputOutage
from rushes.account_status import ACCOUNT, OK, Condition, judge_account
from rushes.catalog import find_uploads, get_video_model

STARTING_SECONDS = 10.0
"""A starting worker leads within this time, if no other one leads."""


def describe_outage(outage: OutputOutage) -> str:
    """Describe the outage, its cause and its consequences."""
    probe = f"the next probe is in {max(0.0, outage.next_probe_seconds):.0f} s"
    return (
        f"every download has failed for {outage.seconds:,.0f} s ({outage.failure}); {outage.waiting:,} job(s) wait, "
        f"one download at a time probes the output host, and {probe}"
    )


def describe_slots(farm: FarmStatus) -> str:
    """Describe the slots in use and, separately, the renders submitted beyond the slots."""
    more = f", {farm.overcommitted} waiting at the provider" if farm.overcommitted else ""
    return f"{farm.in_use} of {farm.slots} slots{more}"


def describe_turns(health: Health) -> str:
    """Describe for how long the dispatcher's turns have failed, and their error."""
    return f"every turn of the dispatcher has failed for {health.turns_failing_seconds:,.0f} s ({health.turn_error})"


def explain_wait(session: Session, job: Job, live: Prediction | None) -> str | None:
    """Return a sentence on why a job waits; None if it makes progress or has ended. `live` is as in `JobView`."""
    if job.state == JobState.STORING:
        return _explain_storing(live, queries.storing.find_output_outage(session)) if live else None
    if is_ended(JobState(job.state)) or (job.state == JobState.RENDERING and live is None):
        return None
    facts = queries.status.find_account_facts(session, ACCOUNT)
    status = judge_account(facts) if facts else OK
    account = f"{status.message}; {status.what_to_do}"
    if live is not None and live.state == "unconfirmed":
        reason = f"the answer to the submission was lost ({live.error_message})"
        lost = f"{reason}; Rushes buys again only after the provider's list, or a person, rules out that purchase"
        return f"{lost}; {account}" if status.stops_checks else lost
    if live is not None and live.posted_at:
        if status.stops_checks:
            return account
        return _explain_late(live.watch_windows) if live.watch_windows else None
    if not status.is_ok and status.condition is not Condition.SPENDING_CAP:
        return account
    return _explain_own(session, job, live) or _explain_queue(session, job, facts)


def _explain_own(session: Session, job: Job, live: Prediction | None) -> str | None:
    """Return a reason that concerns only this job, before its submission; None if there is none."""
    if live is not None:
        sends = live.not_before is None and find_uploads(get_video_model(job.video_model), job.input)
        return "its file is being sent to the provider; the submission follows" if sends else None
    if job.paused_at is not None:
        again = f"rushes batch resume {job.batch_id}" if job.batch_id else "a resume action"
        return f"a person paused it at {job.paused_at:%Y-%m-%d %H:%M:%S} UTC; it waits for `{again}`"
    if job.error_code == "upload_failed":
        return job.error_message
    duplicate = queries.jobs.find_open_duplicate(session, job.id)
    if duplicate is None:
        return None
    return f"its duplicate purchase {duplicate.id} is paid for; the job is bought again only if it yields no file"


def _explain_late(watch_windows: int) -> str:
    return f"the render outlived {watch_windows} watch window(s); it is still being checked, less and less often"


def _explain_queue(session: Session, job: Job, facts: AccountFacts | None) -> str:
    health = queries.health.find_health(session)
    if health.turn_error is not None:
        return describe_turns(health)
    if health.leader is None:
        starts = health.workers and (health.leaderless_seconds or 0) < STARTING_SECONDS
        return "a worker is starting" if starts else "no dispatcher is at work: start a worker"
    if job.state == JobState.QUEUED and facts and facts.most_today is not None:
        if job.price > facts.most_today:
            cap = f"a whole day's spending cap of ${facts.most_today:.2f}"
            return f"it costs ${job.price:.2f}, more than {cap}: raise RUSHES_MAX_SPEND_PER_DAY, or cancel the job"
        status = judge_account(facts._replace(next_price=job.price))
        if not status.is_ok:
            return f"{status.message}; {status.what_to_do}"
    farm = queries.health.find_farm(session)
    return f"waits for a slot: {describe_slots(farm)}, {farm.queued} job(s) are queued"


def _explain_storing(output: Prediction, outage: OutputOutage | None) -> str | None:
    if output.rechecks:
        return "its unverified file is probed again"
    if outage is not None:
        return describe_outage(outage)
    if output.error_message is None:
        return None
    again = f" at {output.due_at:%H:%M:%S} UTC" if output.due_at else ""
    return f"storing is tried again{again}: {output.error_message}"
