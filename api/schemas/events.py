"""The history of a job or a batch, and failed jobs in groups, as they are shown."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.values import Money, NumberCursor, PageShown, Shown, Time


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
