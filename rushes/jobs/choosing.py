"""Which jobs a person means: the filter of lists, failures and actions, by names as people know them."""

from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy.orm import Session

from models import JobState, queries
from models.db.session import Sessions, transaction
from models.queries.job_filter import JobFilter
from rushes.catalog import describe_unknown, find_video_model
from rushes.errors import InvalidInput, NotFound, Problem
from rushes.jobs.pushing import BATCH_NAME


def _refuse_number(value: object) -> object:
    """A number would be read as seconds since 1970."""
    if isinstance(value, int | float) or (isinstance(value, str) and value.strip("-. ").isdecimal()):
        raise ValueError("must be a time, as in 2026-01-01T12:00:00Z")
    return value


MOMENTS = ("created_after", "created_before", "ended_after", "ended_before")
Moment = Annotated[AwareDatetime | None, BeforeValidator(_refuse_number)]
Words = Annotated[str | None, Field(min_length=1)]


class JobChoice(BaseModel):
    """Properties that a job must have, all of them. What is not given does not filter; an empty value is refused."""

    model_config = ConfigDict(extra="forbid")

    batch: Words = Field(default=None, description="Only jobs of this batch, by name or id.")
    code: Annotated[str | None, Field(pattern="^[!-~]{1,100}$")] = Field(
        default=None, description="Only jobs that ended with this failure code.", examples=["output_unverified"]
    )
    model: Words = Field(default=None, description="Only jobs for this video model, by id or short name.")
    created_after: Moment = Field(default=None, description="Only jobs that were pushed at this time or later.")
    created_before: Moment = Field(default=None, description="Only jobs that were pushed before this time.")
    ended_after: Moment = Field(default=None, description="Only jobs that ended at this time or later.")
    ended_before: Moment = Field(default=None, description="Only jobs that ended before this time.")

    state: list[JobState] | None = Field(default=None, min_length=1, description="Only jobs in one of these states.")
    ids: list[str] | None = Field(
        default=None, min_length=1, max_length=1000, description="Only these jobs, each by its id or as BATCH/NUMBER."
    )


def choose_jobs(session: Session, choice: JobChoice) -> JobFilter:
    """Return the filter that a choice stands for.

    Raises `NotFound` for an unknown batch or BATCH/NUMBER, and `InvalidInput` for an unknown video model or a malformed
    id. An id that no job has chooses nothing.
    """
    video_model = find_video_model(choice.model) if choice.model else None
    if choice.model and video_model is None:
        raise InvalidInput([Problem("model", describe_unknown(choice.model))])
    return JobFilter(
        states=tuple(dict.fromkeys(choice.state or ())),
        batch_id=find_batch_id(session, choice.batch) if choice.batch else None,
        code=choice.code,
        video_model=video_model.id if video_model else None,
        ids=tuple(_find_id(session, each) for each in choice.ids or ()),
        **{name: getattr(choice, name) for name in MOMENTS},
    )


def _find_id(session: Session, words: str) -> UUID:
    batch, slash, number = words.rpartition("/")
    if slash and number.isdecimal() and len(number) <= 9:
        return find_job_number(session, batch, int(number))
    try:
        return UUID(words)
    except ValueError:
        raise InvalidInput([Problem("ids", f"must be UUIDs or BATCH/NUMBER, not {words[:80]!r}")]) from None


def find_batch_id(session: Session, name_or_id: str) -> UUID:
    """Return the id of the batch with this name or id. Raises `NotFound`."""
    # Do not query an impossible name: Postgres refuses a NUL byte even in a comparison.
    batch = queries.jobs.find_batch(session, name_or_id) if BATCH_NAME.fullmatch(name_or_id) else None
    if batch is None:
        raise NotFound(f"there is no batch {name_or_id[:80]!r}")
    return batch.id


def find_job_id(sessions: Sessions, batch: str, number: int) -> UUID:
    """Return the id of the job with this number in the batch with this name or id. Raises `NotFound`."""
    with transaction(sessions) as session:
        return find_job_number(session, batch, number)


def find_job_number(session: Session, batch: str, number: int) -> UUID:
    """Do the same in a transaction."""
    job_id = queries.jobs.find_numbered_job(session, find_batch_id(session, batch), number)
    if job_id is None:
        raise NotFound(f"batch {batch!r} has no job {number}")
    return job_id
