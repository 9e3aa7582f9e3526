"""The history of a job or a batch, as it is shown."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.values import NumberCursor, PageShown, Shown, Time


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
