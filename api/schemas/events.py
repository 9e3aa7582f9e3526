"""The history of a job or a batch, as it is shown."""

from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.values import (
    NumberCursor,
    Time,
    encode_cursor,
)
from models import Event
from rushes.jobs.views import Page


class EventSeen(BaseModel):
    """One entry in the history of a job or a batch."""

    id: int
    at: Time
    kind: str
    prediction_id: UUID | None
    detail: dict[str, Any] = Field(
        description="Facts that depend on the kind. `prediction.rendering` holds the job's `time_left`, counted from "
        "`at`; `batch.at_risk` and `batch.on_track` hold the expected end of the batch."
    )

    @classmethod
    def of(cls, event: Event) -> Self:
        return cls(id=event.id, at=event.at, kind=event.kind, prediction_id=event.prediction_id, detail=event.detail)


class EventPage(BaseModel):
    """The history of a job or a batch, oldest first."""

    items: list[EventSeen]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[Event, int]) -> Self:
        return cls(items=[EventSeen.of(event) for event in page.items], next_cursor=encode_cursor(page.next_key))


class EventsAsked(BaseModel):
    """Which part of the history to list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=200, ge=1, le=1000, description="Events per page.")
    cursor: NumberCursor = Field(default=0, description="`next_cursor` of the previous page.")
