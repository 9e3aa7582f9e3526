"""Deliveries: which are asked for, and what is shown of them."""

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.schemas.values import NumberCursor, PageShown, Shown, Time, drop_blanks
from models import Delivery, DeliveryState


class DeliveriesAsked(BaseModel):
    """Which deliveries to list."""

    model_config = ConfigDict(extra="forbid")

    endpoint_id: UUID | None = Field(default=None, description="Only those to this endpoint.")
    job: Annotated[str | None, Field(pattern=r"^[^/\x00]+(/[0-9]{1,9})?$")] = Field(
        default=None, description="Only those about this job, by id or BATCH/NUMBER."
    )
    state: DeliveryState | None = Field(default=None, description="Only those in this state.")
    limit: int = Field(default=50, ge=1, le=500, description="Deliveries per page.")
    cursor: NumberCursor = Field(default=0, description="`next_cursor` of the previous page.")

    without_blanks = model_validator(mode="before")(drop_blanks)


class DeliveryShown(Shown):
    """One event for one endpoint, and its last attempt."""

    id: str = Field(description="The header `webhook-id`, the same in every attempt.")
    endpoint_id: UUID
    event_id: int | None = Field(description="Null: a test.")
    job_id: UUID | None
    kind: str
    state: DeliveryState = Field(description="`failed`: given up after 3 days.")
    attempts: int = Field(description="Since it was created or last resent.")
    created_at: Time
    ended_at: Time | None
    next_attempt_at: Time | None = Field(description="Not before an earlier one about the same job has ended.")
    attempted_at: Time | None = Field(description="When the last attempt began.")
    status: int | None = Field(description="HTTP status of the last answer. Null: no whole answer came.")
    milliseconds: int | None = Field(description="How long the last attempt took.")
    answer: str | None = Field(description="The first kilobyte of the last answer.")
    error: str | None = Field(description="Why no answer came.")

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        shown: dict[str, Any] = {"id": delivery.webhook_id, "next_attempt_at": delivery.due_at}
        return cls.copy_from(delivery, **shown)


DeliveryPage = PageShown[DeliveryShown]
