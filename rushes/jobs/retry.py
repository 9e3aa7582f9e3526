"""Retry a job that has ended without a video, with the same input or with another one."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models import Batch, Job, JobState, transitions
from models.db.session import Sessions, transaction
from models.transitions.retries import NewInput
from rushes.access.audit_log import recorded
from rushes.access.callers import Caller
from rushes.catalog import get_video_model
from rushes.errors import Conflict, InvalidInput, Problem
from rushes.jobs.pushing import JobOrder, check_order, require_job, take_files
from rushes.jobs.uploads import keep_files


def retry_job(sessions: Sessions, job_id: UUID, replaced: Mapping[str, Any] | None = None, *, caller: Caller) -> str:
    """Queue a failed or cancelled job again, or fetch its video if it is paid for. Returns the job's new state.

    `replaced` holds new values of its input, which are checked as in a push. Earlier predictions keep the input that
    they were sent with. Raises `InvalidInput`, `NotFound` or `Conflict`.
    """
    with transaction(sessions) as session:
        job = require_job(session, job_id)
        with recorded(session, caller, "job.retry", job, "state", "max_attempts", "input", "price"):
            return retry_in(session, job_id, replaced, by=caller.by)


def retry_in(session: Session, job_id: UUID, replaced: Mapping[str, Any] | None, *, by: str) -> str:
    """Do the same in the caller's transaction, which the caller must roll back after an error."""
    job = require_job(session, job_id)
    if replaced:
        transitions.endings.hold_batches_of(session, [job_id])  # before its uploads, as who adds jobs to the batch does
    new = _read_input(session, job, replaced) if replaced else None
    state = transitions.retries.retry_job(session, job_id, new, by=by)
    if state is None:
        session.refresh(job)
        batch = session.get(Batch, job.batch_id) if job.batch_id else None
        if batch is not None and batch.deleted_at is not None:
            raise Conflict(f"job {job_id} belongs to batch {batch.name!r}, which was deleted: push it again")
        stored = job.state == JobState.CANCELLED
        raise Conflict(f"job {job_id} is {job.state}" + (" and its video is stored" if stored else ""))
    if new is not None and state == JobState.STORING:
        message = "its video is paid for and only needs to be downloaded; retry it without a new input"
        raise Conflict(f"the input of job {job_id} cannot be replaced: {message}")
    return state


def _read_input(session: Session, job: Job, replaced: Mapping[str, Any]) -> NewInput:
    order, files = take_files(JobOrder(model=job.video_model, input={**job.input, **replaced}))
    checked, dropped = check_order(order)
    if dropped:
        raise InvalidInput([Problem("input", each) for each in dropped])
    keep_files(session, [checked], files, tenant_id=job.tenant_id, prefix="")
    parameters = get_video_model(job.video_model).parameters
    old = {each.name: job.input.get(each.name) for each in parameters if each.name in replaced}
    return NewInput(checked.input, checked.price, checked.uploads, old)
