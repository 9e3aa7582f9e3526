"""Probe the unverified file of a job again."""

from uuid import UUID

from models import queries, transitions
from models.db.session import Sessions, transaction
from rushes.errors import Conflict
from rushes.jobs.pushing import require_job


def recheck_job(sessions: Sessions, job_id: UUID, *, by: str) -> None:
    """Make a store worker probe the job's unverified file again. Nothing is downloaded or bought.

    Raises `NotFound` for an unknown job, and `Conflict` if it has not ended, has a video or has no unverified file.
    """
    with transaction(sessions) as session:
        if transitions.unverified.recheck_jobs(session, [job_id], by=by):
            return
        job = require_job(session, job_id)
        own = (
            each
            for each in queries.jobs.list_artifacts(session, [job_id])
            if not each.is_duplicate and (each.removed_at is None or each.kind == "video")
        )
        kinds = {each.kind for each in own}
    if "unverified" not in kinds:
        raise Conflict(f"job {job_id} is {job.state} and has no unverified file")
    raise Conflict(f"job {job_id} is {job.state}" + (": its video is stored" if "video" in kinds else ""))
