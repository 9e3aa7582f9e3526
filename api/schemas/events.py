"""The history of a job or a batch, and failed jobs in groups, as they are shown."""

import re
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from api.schemas.jobs import Links
from api.schemas.values import Money, NumberCursor, PageShown, Shown, Time, drop_blanks
from models.queries.events.feed import FeedEvent
from rushes.jobs.choosing import Words

MOST_KINDS = 50
LATEST = "latest"


def _read_place(value: object) -> object:
    if value is None or value == LATEST:
        return value
    if not re.fullmatch("[0-9]{1,18}", str(value)):
        raise ValueError("must be a `cursor` of the feed, or `latest`")
    return int(str(value))


def _check_kinds(words: str) -> str:
    kinds = words.split(",")
    if len(kinds) > MOST_KINDS or not all(re.fullmatch(r"[a-z_.]+\*?", each) for each in kinds):
        raise ValueError("must be kinds such as job.succeeded or job.*, separated by commas; at most 50")
    return words


class EventSeen(Shown):
    """One entry in the history of a job or a batch."""

    id: int
    at: Time
    kind: str
    prediction_id: UUID | None
    detail: dict[str, Any] = Field(
        description="Facts that depend on the kind. `prediction.rendering` holds the job's `time_left`, counted from "
        "`at`; `batch.at_risk` and `batch.on_track` hold the expected end of the batch."
    )


class EventPage(PageShown[EventSeen]):
    """The history of a job or a batch, oldest first."""


class EventsAsked(BaseModel):
    """Which part of the history to list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=200, ge=1, le=1000, description="Events per page.")
    cursor: NumberCursor = Field(default=0, description="`next_cursor` of the previous page.")


class FeedItem(Shown):
    """One entry of the event feed."""

    id: int = Field(description="Grows within the feed. The cursor that continues after this item.")
    at: Time
    kind: str
    tenant: str
    job_id: UUID | None = Field(description="Null if it is about a batch as a whole.")
    job_url: str | None = Field(description="Address of the job.")
    batch: str | None
    number: int | None = Field(description="Position in the batch, from 1.")
    client_ref: str | None = Field(description="The job's id of the caller's own.")
    metadata: dict[str, Any] | None = Field(description="The caller's own values, as they were pushed.")
    prediction_id: UUID | None
    detail: dict[str, Any] = Field(description="Facts that depend on the kind.")

    @classmethod
    def of(cls, event: FeedEvent, links: Links) -> Self:
        job_url = links.job(event.job_id) if event.job_id is not None else None
        return cls.copy_from(event, job_url=job_url, metadata=event.client_metadata)


class FeedShown(BaseModel):
    """A part of the event feed, in the order of the ids."""

    items: list[FeedItem]
    cursor: int = Field(description="Pass it as `after` to read on. It also moves over events that do not match.")
    more: bool = Field(description="Whether to ask again at once.")


Place = Annotated[
    int | Literal["latest"] | None,
    BeforeValidator(_read_place),
    WithJsonSchema({"type": "string", "pattern": "^(latest|[0-9]{1,18})$"}),
]
Kinds = Annotated[
    str | None,
    AfterValidator(_check_kinds),
    WithJsonSchema({"type": "string", "pattern": r"^[a-z_.]+\*?(,[a-z_.]+\*?){0,49}$"}),
]


class FeedFollowed(BaseModel):
    """Which events to follow, and from where on."""

    model_config = ConfigDict(extra="forbid")

    after: Place = Field(
        default=None,
        description="A `cursor`, or the id of an item; `latest`: from now on. Without it, from the beginning: of the "
        "batch, else of the tenant's oldest job.",
    )
    kinds: Kinds = Field(
        default=None,
        description="Only these kinds, separated by commas. A `*` at the end stands for any further characters.",
        examples=["job.*,batch.*"],
    )
    batch: Words = Field(
        default=None, description="Only events of this batch and its jobs, by name or id.", examples=["pilot"]
    )

    without_blanks = model_validator(mode="before")(drop_blanks)


class FeedAsked(FeedFollowed):
    """The same for one request."""

    limit: int = Field(default=200, ge=1, le=1000, description="Events at most.")
    wait: float = Field(
        default=0, ge=0, le=30, description="Seconds to wait for events if there are none. One is enough for an answer."
    )


class FailureSample(Shown):
    """One of the failed jobs."""

    id: UUID
    tenant: str
    batch: str | None
    number: int | None = Field(description="Position in the batch, from 1.")
    client_ref: str | None


class FailureGroupSeen(Shown):
    """Failed jobs with one code and, apart from addresses, ids and numbers, one message."""

    code: str
    message: str = Field(description="Addresses are shown as `<url>`, ids and numbers as `#`.")
    jobs: int = Field(description="How many.")
    spent: Money = Field(description="US dollars for their predictions that ended as paid.")
    price: Money = Field(description="US dollars to render each of them once more.")
    models: list[str] = Field(description="Short names of their video models.")
    first_at: Time = Field(description="When the first of them failed.")
    last_at: Time = Field(description="When the last of them failed.")
    samples: list[FailureSample] = Field(description="The last of them, at most five.")


class Failures(BaseModel):
    """Groups of failed jobs, the largest first."""

    items: list[FailureGroupSeen] = Field(description="The hundred largest groups.")
    jobs: int = Field(description="Failed jobs in all groups: at most the newest 100,000.")
