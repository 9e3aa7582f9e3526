"""Requests for several jobs, and the stored files that jobs refer to."""

from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BeforeValidator, Field, ValidationInfo, field_validator

from api.schemas.values import Body, Shown
from models.transitions.uploads import KeptUpload
from rushes.bulk.defaults import JobDefaults, fill_in
from rushes.catalog import REFERENCE
from rushes.jobs.pushing import BATCH_NAME, JobOrder, OnRepeat


class SingleJobOrder(JobOrder):
    """One job to push."""

    on_conflict: Annotated[
        Literal["return"] | None,
        Field(
            description="`return`: if a job has this `client_ref`, return the newest one with 200; nothing is stored."
        ),
    ] = None

    @field_validator("on_conflict")
    @classmethod
    def _need_reference(cls, given: str | None, info: ValidationInfo) -> str | None:
        if given and info.data.get("client_ref") is None:
            raise ValueError("needs a client_ref")
        return given


class NewJobs(Body):
    """Jobs to price."""

    jobs: Annotated[list[JobOrder], Field(json_schema_extra={"minItems": 1})]


class JobsToPrice(NewJobs):
    """Jobs to price, and on request to forecast."""

    forecast: Annotated[bool, Field(description="Also forecast when they would end if they were pushed now.")] = False


class RetryAsked(Body):
    """What a retry changes."""

    input: Annotated[dict[str, Any], Field(description="Parameters to replace; the others stay as they are.")]


def _take_defaults(given: object, info: ValidationInfo) -> object:
    defaults = info.data.get("defaults")
    return fill_in(given, defaults.as_values()) if defaults is not None else given


class BatchOrder(Body):
    """A batch, with its jobs or without: then it stays open for jobs until it is sealed."""

    name: Annotated[
        str,
        Field(
            description="1 to 64 letters, digits, dots, dashes or underscores; also the folder of its videos.",
            json_schema_extra={"pattern": f"^{BATCH_NAME.pattern}$"},
        ),
    ]
    defaults: Annotated[JobDefaults | None, Field(description="What jobs take if they do not set it themselves.")] = (
        None
    )
    jobs: Annotated[
        list[Annotated[JobOrder, BeforeValidator(_take_defaults)]] | None,
        Field(json_schema_extra={"minItems": 1}, description="Left out: the batch is opened, and takes jobs as lines."),
    ] = None
    digest: Annotated[
        str | None,
        Field(
            pattern="^[0-9a-f]{64}$",
            description="For a batch that is opened: a SHA-256 of the jobs that will be added, made by the caller. "
            "`on_repeat` recognises the jobs by it.",
        ),
    ] = None
    finish_by: Annotated[
        AwareDatetime | None,
        Field(
            description="Deadline of the batch, with its time zone. It does not speed anything up. `at_risk` and the "
            "event `batch.at_risk` report that the batch is likely to miss it.",
            examples=["2026-11-05T13:00:00Z"],
        ),
    ] = None
    on_repeat: Annotated[
        OnRepeat,
        Field(
            strict=False,
            description="If the same jobs were pushed before: `refuse` a name that is taken (409), return the batch of "
            "the `same_name`, or return the batch of any name with the `same_jobs`.",
        ),
    ] = OnRepeat.REFUSE

    @field_validator("digest")
    @classmethod
    def _need_no_jobs(cls, given: str | None, info: ValidationInfo) -> str | None:
        if given is not None and info.data.get("jobs") is not None:
            raise ValueError("is for a batch without jobs: that of jobs is known")
        return given


class UploadKept(Shown):
    """A stored file."""

    sha256: str
    size: int = Field(description="In bytes.")
    content_type: str = Field(description="By its content, not by the header that came with it.")
    reference: str = Field(description="The address for jobs: the value of `image` or `video`.")

    @classmethod
    def of(cls, kept: KeptUpload) -> Self:
        return cls.copy_from(kept, reference=REFERENCE + kept.sha256)
