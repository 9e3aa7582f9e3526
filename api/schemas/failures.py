"""Failed jobs in groups, as the API shows them."""

from uuid import UUID

from pydantic import BaseModel, Field

from api.schemas.values import Money, Shown, Time


class FailureSample(Shown):
    """One of the failed jobs."""

    id: UUID
    batch: str | None
    number: int | None = Field(description="Position in the batch, from 1.")


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
