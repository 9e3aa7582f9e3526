"""Which jobs a person means: the filter of lists, failures and actions, by names as people know them."""

from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy.orm import Session

from models import Job, JobState, queries
from models.queries.job_filter import JobFilter
from rushes.access.callers import Caller
from rushes.access.tenants import require_tenant
from rushes.catalog import describe_unknown, find_video_model
from rushes.errors import InvalidInput, NotFound, Problem
from rushes.jobs.pushing import BATCH_NAME


def _refuse_number(value: object) -> object:
    """A number would be read as seconds since 1970."""
    try:
        float(value)  # type: ignore[arg-type] # anything may have come
    except (TypeError, ValueError):
        return value
    raise ValueError("must be a time, as in 2026-01-01T12:00:00Z")


MOMENTS = ("created_after", "created_before", "ended_after", "ended_before")
Moment = Annotated[AwareDatetime | None, BeforeValidator(_refuse_number)]
NO_NUL = r"^[^\x00]*$"
"""Postgres refuses a NUL byte even in a comparison."""
Words = Annotated[str | None, Field(min_length=1, pattern=NO_NUL)]


class JobChoice(BaseModel):
    """Properties that a job must have, all of them. What is not given does not filter; an empty value is refused."""

    model_config = ConfigDict(extra="forbid")

    tenant: Words = Field(default=None, description="Only jobs of this tenant, for keys that reach every tenant.")
    batch: Words = Field(default=None, description="Only jobs of this batch, by name or id.")
    code: Annotated[str | None, Field(pattern="^[!-~]{1,100}$")] = Field(
        default=None, description="Only jobs that ended with this failure code.", examples=["output_unverified"]
    )
    model: Words = Field(default=None, description="Only jobs for this video model, by id or short name.")
    client_ref: Words = Field(default=None, description="Only jobs with this id of the caller's own.")
    created_after: Moment = Field(default=None, description="Only jobs that were pushed at this time or later.")
    created_before: Moment = Field(default=None, description="Only jobs that were pushed before this time.")
    ended_after: Moment = Field(default=None, description="Only jobs that ended at this time or later.")
    ended_before: Moment = Field(default=None, description="Only jobs that ended before this time.")

    state: list[JobState] | None = Field(default=None, min_length=1, description="Only jobs in one of these states.")
    ids: list[str] | None = Field(
        default=None, min_length=1, max_length=1000, description="Only these jobs, each by its id or as BATCH/NUMBER."
    )


def choose_jobs(session: Session, choice: JobChoice, caller: Caller) -> JobFilter:
    """Return the filter that a choice stands for, within the tenants that the caller reaches.

    Raises `NotFound` for an unknown tenant, batch or BATCH/NUMBER, and `InvalidInput` for an unknown video model or a
    malformed id. An id that no job has chooses nothing.
    """
    video_model = find_video_model(choice.model) if choice.model else None
    if choice.model and video_model is None:
        raise InvalidInput([Problem("model", describe_unknown(choice.model))])
    return JobFilter(
        tenant_id=find_tenant_id(session, choice.tenant, caller) if choice.tenant else caller.reach,
        states=tuple(dict.fromkeys(choice.state or ())),
        batch_id=find_batch_id(session, choice.batch, caller) if choice.batch else None,
        code=choice.code,
        video_model=video_model.id if video_model else None,
        client_ref=choice.client_ref,
        ids=tuple(_find_id(session, each, caller) for each in choice.ids or ()),
        **{name: getattr(choice, name) for name in MOMENTS},
    )


def _find_id(session: Session, words: str, caller: Caller) -> UUID:
    batch, slash, number = words.rpartition("/")
    if slash and number.isdecimal() and len(number) <= 9:
        return _find_numbered(session, batch, int(number), caller)
    try:
        return UUID(words)
    except ValueError:
        raise InvalidInput([Problem("ids", f"must be UUIDs or BATCH/NUMBER, not {words[:80]!r}")]) from None


def find_tenant_id(session: Session, name: str, caller: Caller) -> UUID:
    """Return the id of the tenant with this name. Raises `NotFound`, also for one that the caller may not see."""
    tenant = require_tenant(session, name)
    if not caller.may_see(tenant.id):
        raise NotFound(f"there is no tenant {name[:80]!r}")
    return tenant.id


def find_batch_id(session: Session, name_or_id: str, caller: Caller) -> UUID:
    """Return the id of the batch with this name or id; TENANT:NAME names one of another tenant. Raises `NotFound`."""
    tenant, colon, name = name_or_id.rpartition(":")
    tenant_id = find_tenant_id(session, tenant, caller) if colon else caller.tenant_id
    batch = queries.jobs.find_batch(session, name, tenant_id=tenant_id) if BATCH_NAME.fullmatch(name) else None
    if batch is None or not caller.may_see(batch.tenant_id):
        raise NotFound(f"there is no batch {name_or_id[:80]!r}")
    return batch.id


def find_job_id(session: Session, words: str, caller: Caller) -> UUID:
    """Return the id of the job with this id, or with BATCH/NUMBER. Raises `NotFound`, or `InvalidInput`."""
    batch, slash, number = words.rpartition("/")
    if slash:
        return _find_numbered(session, batch, int(number), caller)
    try:
        job_id = UUID(words)
    except ValueError:
        raise InvalidInput([Problem("job_id", "must be a UUID or BATCH/NUMBER")]) from None
    require_seen(queries.keys.find_owner(session, Job, job_id), f"job {job_id}", caller)
    return job_id


def require_seen(owner: UUID | None, name: str, caller: Caller) -> None:
    """Raise `NotFound` for a row that does not exist, or whose tenant, its owner, the caller may not see."""
    if owner is None or not caller.may_see(owner):
        raise NotFound(f"there is no {name}")


def _find_numbered(session: Session, batch: str, number: int, caller: Caller) -> UUID:
    job_id = queries.jobs.find_numbered_job(session, find_batch_id(session, batch, caller), number)
    if job_id is None:
        raise NotFound(f"batch {batch!r} has no job {number}")
    return job_id
