"""Lists of jobs: every filter and every page shows what it should, newest first, once."""

import random
from itertools import product
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models import JobState, queries
from models.queries.job_filter import JobFilter
from tests.support import rows

STATES = (JobState.QUEUED, JobState.FAILED, JobState.SUCCEEDED)
VIDEO_MODELS = ("a/pro", "a/fast")


def fill(session: Session) -> dict[UUID, dict[str, Any]]:
    """Sixty jobs of all kinds; what each is, by its id."""
    chance = random.Random(7)
    batches = [None, *(rows.insert(session, "batch", name=name, job_count=60) for name in ("one", "two"))]
    jobs = {}
    for number in range(1, 61):
        batch = chance.choice(batches)
        job: dict[str, Any] = {
            "state": chance.choice(STATES),
            "batch_id": batch,
            "video_model": chance.choice(VIDEO_MODELS),
        }
        numbered: dict[str, Any] = {"number": number} if batch else {}
        jobs[rows.add_job(session, **job, **numbered)] = job
    return jobs


def turn_pages(session: Session, chosen: JobFilter, *, limit: int) -> list[UUID]:
    """The ids of all pages."""
    found: list[UUID] = []
    while page := queries.jobs.list_jobs(session, chosen, limit=limit, before=found[-1] if found else None):
        assert len(page) <= limit
        found += [job.id for job in page]
    return found


def test_every_filter_finds_its_jobs_once_and_newest_first(scratch: Session) -> None:
    jobs = fill(scratch)
    batches = {job["batch_id"] for job in jobs.values()}
    for state, batch, model in product((None, *STATES), batches, (None, *VIDEO_MODELS)):
        wanted = {"state": state, "batch_id": batch, "video_model": model}
        asked = {name: value for name, value in wanted.items() if value is not None}
        expected = [each for each in sorted(jobs, reverse=True) if asked.items() <= jobs[each].items()]
        chosen = JobFilter(states=(state,) if state else (), batch_id=batch, video_model=model)
        assert turn_pages(scratch, chosen, limit=7) == expected, asked


def test_a_filter_that_nothing_meets_finds_nothing(scratch: Session) -> None:
    fill(scratch)
    assert queries.jobs.list_jobs(scratch, JobFilter(states=(JobState.STORING,)), limit=5) == []
    assert queries.jobs.list_jobs(scratch, JobFilter(video_model="b/none"), limit=5) == []
    assert queries.jobs.list_jobs(scratch, JobFilter(batch_id=UUID(int=1)), limit=5) == []
