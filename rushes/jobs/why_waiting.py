"""Explain why a job waits, and describe an outage of the output host: one text for all interfaces."""

from sqlalchemy.orm import Session

from models import Job, JobState, Prediction, queries
from models.queries.storing import OutputOutage


def describe_outage(outage: OutputOutage) -> str:
    """Describe the outage, its cause and its consequences."""
    probe = f"the next probe is in {max(0.0, outage.next_probe_seconds):.0f} s"
    return (
        f"every download has failed for {outage.seconds:,.0f} s ({outage.failure}); {outage.waiting:,} job(s) wait, "
        f"one download at a time probes the output host, and {probe}"
    )


def explain_wait(session: Session, job: Job, live: Prediction | None) -> str | None:
    """Return a sentence on why a job waits; None if it makes progress or has ended. `live` is as in `JobView`."""
    if job.state == JobState.STORING:
        return _explain_storing(live, queries.storing.find_output_outage(session)) if live else None
    if live is not None and live.state == "unconfirmed":
        reason = f"the answer to the submission was lost ({live.error_message})"
        return f"{reason}; Rushes buys again only after the provider's list, or a person, rules out that purchase"
    if live is not None and live.watch_windows:
        windows = f"{live.watch_windows} watch window(s)"
        return f"the render outlived {windows}; it is still being checked, less and less often"
    if job.state != JobState.QUEUED and not (live is not None and live.state == "submitting" and not live.posted_at):
        return None
    return _explain_queue(session, job)


def _explain_queue(session: Session, job: Job) -> str:
    health = queries.health.find_health(session)
    if health.paused:
        return f"the account is paused ({health.paused})"
    if health.back_off:
        return f"the account takes no submissions ({health.back_off})"
    if problem := queries.storing.find_store_state(session).problem:
        return f"nothing is submitted, because no video could be kept: {problem}"
    if health.leader is None:
        return "no dispatcher is at work: start a worker"
    spend = queries.summary.find_daily_spend(session) if job.state == JobState.QUEUED else None
    if spend is not None and job.price > spend.most:
        most = f"a whole day's spending cap of ${spend.most:.2f}"
        return f"it costs ${job.price:.2f}, more than {most}: raise RUSHES_MAX_SPEND_PER_DAY, or cancel the job"
    if spend is not None and spend.today + job.price > spend.most:
        used = f"${spend.today:.2f} of ${spend.most:.2f} is held or spent today"
        again = "jobs are submitted again from 00:00 UTC, or once RUSHES_MAX_SPEND_PER_DAY is raised"
        return f"the daily spending cap leaves too little: {used}; {again}"
    farm = queries.health.find_farm(session)
    return f"waits for a slot: {farm.live} of {farm.slots} are in use, {farm.queued} job(s) are queued"


def _explain_storing(output: Prediction, outage: OutputOutage | None) -> str | None:
    if output.rechecks:
        return "its unverified file is probed again"
    if outage is not None:
        return describe_outage(outage)
    if output.error_message is None:
        return None
    again = f" at {output.due_at:%H:%M:%S} UTC" if output.due_at else ""
    return f"storing is tried again{again}: {output.error_message}"
