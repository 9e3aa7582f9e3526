"""Probe the unverified file of a job again."""

from uuid import UUID

from sqlalchemy.orm import Session

from models import Job, queries, transitions
from models.db.session import Sessions, transaction
from rushes.access.audit_log import recorded
from rushes.access.callers import Caller
from rushes.errors import Conflict
from rushes.jobs.pushing import require_job


def recheck_job(sessions: Sessions, job_id: UUID, *, caller: Caller) -> None:
    """Make a store worker probe the job's unverified file again. Nothing is downloaded or bought.

    Raises `NotFound` for an unknown job, and `Conflict` if it has not ended, has a video or has no unverified file.
    """
    with transaction(sessions) as session:
        job = require_job(session, job_id)
        with recorded(session, caller, "job.recheck", job, "state"):
            if not transitions.unverified.recheck_jobs(session, [job_id], by=caller.by):
                raise _refuse(session, job)


def _refuse(session: Session, job: Job) -> Conflict:
    session.refresh(job)
    own = (
        each
        for each in queries.jobs.list_artifacts(session, [job.id])
        if not each.is_duplicate and (each.removed_at is None or each.kind == "video")
    )
    kinds = {each.kind for each in own}
    if "unverified" not in kinds:
        return Conflict(f"job {job.id} is {job.state} and has no unverified file")
    return Conflict(f"job {job.id} is {job.state}" + (": its video is stored" if "video" in kinds else ""))
