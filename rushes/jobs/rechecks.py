"""Probe unverified files again: by job, by batch or by failure code."""

from uuid import UUID

from models import queries, transitions
from models.db.session import Sessions, transaction
from models.transitions.storing.unverified import RecheckFilter
from rushes.errors import Conflict, InvalidInput, Problem
from rushes.jobs.choosing import find_batch_id
from rushes.jobs.pushing import require_job

_AT_ONCE = 500
"""Jobs per transaction."""


def recheck_job(sessions: Sessions, job_id: UUID, *, by: str) -> None:
    """Make a store worker probe the job's unverified file again. Nothing is downloaded or bought.

    Raises `NotFound` for an unknown job, and `Conflict` if it has not ended, has a video or has no unverified file.
    """
    with transaction(sessions) as session:
        if transitions.unverified.recheck_jobs(session, RecheckFilter(ids=[job_id]), by=by):
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


def recheck_jobs(sessions: Sessions, *, by: str, batch: str | None, code: str | None) -> int:
    """Recheck all jobs of a batch, all jobs with a failure code, or both. Returns how many.

    Raises `InvalidInput` without a filter, and `NotFound` for an unknown batch.
    """
    if batch is None and code is None:
        raise InvalidInput([Problem("batch", "name a batch, a code, or both")])
    with transaction(sessions) as session:
        chosen = RecheckFilter(batch_id=find_batch_id(session, batch) if batch is not None else None, code=code)
    total, last = 0, None
    while True:
        with transaction(sessions) as session:
            ids = transitions.unverified.recheck_jobs(session, chosen, by=by, after=last, count=_AT_ONCE)
        if not ids:
            return total
        total, last = total + len(ids), ids[-1]
