"""Lists of jobs: every filter, order and page shows what it should, once."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Job, JobState
from models.queries.job_filter import JobFilter
from models.queries.job_lists import JobSort, find_place, list_jobs
from tests.support import rows

STATES = (JobState.QUEUED, JobState.RENDERING, JobState.FAILED, JobState.SUCCEEDED, JobState.CANCELLED)
VIDEO_MODELS = ("a/pro", "a/fast")
CODES = ("broken", "refused")
BATCHES = (UUID(int=1), UUID(int=2))
HOURS = (-9, -3, -1)


def fill(session: Session) -> list[Job]:
    """Sixty jobs of all kinds, many of which ended at the same moment or cost the same."""
    chance = random.Random(7)
    for name, batch in zip(("one", "two"), BATCHES, strict=True):
        rows.insert(session, "batch", id=batch, name=name, job_count=60)
    for number in range(1, 61):
        state, batch = chance.choice(STATES), chance.choice((None, *BATCHES))
        more: dict[str, Any] = {"batch_id": batch, "number": number} if batch else {}
        if state in {JobState.FAILED, JobState.SUCCEEDED, JobState.CANCELLED}:
            more["ended_at"] = chance.choice(HOURS) * rows.HOUR
        if state == JobState.FAILED:
            more["error_code"] = chance.choice(CODES)
        created = chance.choice(HOURS) * rows.HOUR
        price = chance.choice(("0.36", "0.1", "12.8004"))
        rows.add_job(session, state, video_model=chance.choice(VIDEO_MODELS), created_at=created, price=price, **more)
    return list(session.scalars(select(Job)))


moments = st.none() | st.sampled_from((*HOURS, -2, 0)).map(lambda hours: datetime.now(UTC) + hours * rows.HOUR)
filters = st.builds(
    JobFilter,
    states=st.lists(st.sampled_from(STATES), unique=True, max_size=3).map(tuple),
    batch_id=st.none() | st.sampled_from(BATCHES),
    code=st.none() | st.sampled_from(CODES),
    video_model=st.none() | st.sampled_from(VIDEO_MODELS),
    created_after=moments,
    ended_after=moments,
    ended_before=moments,
)


def meets(job: Job, chosen: JobFilter) -> bool:
    """Whether a list should show this job, worked out without SQL."""
    ended = job.ended_at
    return (
        (not chosen.states or job.state in chosen.states)
        and chosen.batch_id in {None, job.batch_id}
        and chosen.code in {None, job.error_code}
        and chosen.video_model in {None, job.video_model}
        and (chosen.created_after is None or job.created_at >= chosen.created_after)
        and (chosen.ended_after is None or (ended is not None and ended >= chosen.ended_after))
        and (chosen.ended_before is None or (ended is not None and ended < chosen.ended_before))
    )


ORDERS: dict[JobSort, Any] = {
    JobSort.CREATED: lambda job: job.id,
    JobSort.AGE: lambda job: job.id,
    JobSort.ENDED: lambda job: (job.ended_at, job.id),
    JobSort.COST: lambda job: (job.price, job.id),
}


def turn_pages(session: Session, chosen: JobFilter, *, limit: int, **order: Any) -> Iterator[Job]:
    """The jobs of all pages."""
    after = None
    while page := list_jobs(session, chosen, limit=limit, after=after, **order):
        assert len(page) <= limit
        yield from page
        after = find_place(page[-1], order["sort"])


def test_every_filter_and_order_lists_its_jobs_once(scratch: Session) -> None:
    jobs = fill(scratch)

    @settings(max_examples=300, deadline=None)
    @given(filters, st.sampled_from(JobSort), st.booleans(), st.integers(1, 30))
    def check(chosen: JobFilter, sort: JobSort, is_reversed: bool, limit: int) -> None:
        expected = [job for job in jobs if meets(job, chosen) and (sort != JobSort.ENDED or job.ended_at)]
        expected.sort(key=ORDERS[sort], reverse=is_reversed == (sort == JobSort.AGE))
        found = list(turn_pages(scratch, chosen, limit=limit, sort=sort, is_reversed=is_reversed))
        assert [job.id for job in found] == [job.id for job in expected]

    check()


def test_a_filter_that_nothing_meets_finds_nothing(scratch: Session) -> None:
    fill(scratch)
    assert list_jobs(scratch, JobFilter(states=(JobState.STORING,)), limit=5) == []
    assert list_jobs(scratch, JobFilter(states=(JobState.QUEUED,)), sort=JobSort.ENDED, limit=5) == []
    assert list_jobs(scratch, JobFilter(video_model="b/none"), limit=5) == []
    assert list_jobs(scratch, JobFilter(batch_id=UUID(int=3)), limit=5) == []
