"""Unconfirmed submissions as the API shows them, and a person's decisions about purchases."""

from collections.abc import Sequence
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from api.schemas.values import Body, Money, Shown, Time
from models.queries.reconciling import UnconfirmedSubmission
from rushes.catalog import find_video_model


class UnconfirmedView(Shown):
    """A submission with an outcome that is not known yet."""

    prediction_id: UUID
    job_id: UUID
    tenant: str
    batch: str | None
    model: str = Field(description="The video model's short name.")
    input: dict[str, Any] = Field(description="All parameters, as sent to the provider.")
    price: Money = Field(description="US dollars, held until the submission is decided.")
    posted_at: Time
    needs_person: bool = Field(description="A person has to decide; `reason` says why.")
    reason: str = Field(description="The known facts, as a message for people.")

    @classmethod
    def of(cls, unconfirmed: UnconfirmedSubmission) -> Self:
        model = find_video_model(unconfirmed.video_model)
        return cls.copy_from(unconfirmed, model=model.name if model else unconfirmed.video_model)


class UnconfirmedList(BaseModel):
    """Every unconfirmed submission, oldest first."""

    items: list[UnconfirmedView]

    @classmethod
    def of(cls, unconfirmed: Sequence[UnconfirmedSubmission]) -> Self:
        return cls(items=[UnconfirmedView.of(each) for each in unconfirmed])


class Adoption(Body):
    """Assigns one of the provider's predictions to an unconfirmed submission."""

    provider_id: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][!-~]{0,199}$", description="The provider's prediction id.")
    ]


class Abandonment(Body):
    """Gives up a render that does not end."""

    accept_double_cost: Annotated[
        bool, Field(description="Must be true: the render may still be billed, and the job is bought again.")
    ] = False
