"""Submissions in doubt as they are shown, and what a person decides about purchases."""

from collections.abc import Sequence
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.values import Money, Time
from models.queries import Doubt
from rushes.catalog import find_video_model

_STRICT = ConfigDict(extra="forbid", strict=True)


class DoubtSeen(BaseModel):
    """A submission whose outcome nobody knows yet."""

    prediction_id: UUID
    job_id: UUID
    batch: str | None
    model: str = Field(description="The video model's short name.")
    input: dict[str, Any] = Field(description="What was sent to the provider.")
    price: Money = Field(description="US dollars, held until it is decided.")
    posted_at: Time
    needs_person: bool = Field(description="Looking has found candidates that cannot be read; it is still looked for.")
    reason: str = Field(description="What is known, for a person's eyes.")

    @classmethod
    def of(cls, doubt: Doubt) -> Self:
        model = find_video_model(doubt.video_model)
        return cls(model=model.name if model else doubt.video_model, **_facts_of(doubt))


def _facts_of(doubt: Doubt) -> dict[str, Any]:
    return {name: value for name, value in doubt._asdict().items() if name != "video_model"}


class Doubts(BaseModel):
    """Every submission in doubt, oldest first."""

    items: list[DoubtSeen]

    @classmethod
    def of(cls, doubts: Sequence[Doubt]) -> Self:
        return cls(items=[DoubtSeen.of(each) for each in doubts])


class Adoption(BaseModel):
    """Which of the provider's predictions a doubt is."""

    model_config = _STRICT

    provider_id: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][!-~]{0,199}$", description="The provider's prediction id.")
    ]


class Abandonment(BaseModel):
    """Giving up a render that does not end."""

    model_config = _STRICT

    accept_double_cost: Annotated[
        bool, Field(description="Must be true: the render may still be billed, and the job is bought again.")
    ] = False
