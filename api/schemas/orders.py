"""Jobs as they are asked for. Parsing is strict, and unknown fields are refused: a typing error must not cost money."""

from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from rushes.jobs.pushing import MAX_ATTEMPTS, PRIORITY_LIMIT, Order

_STRICT = ConfigDict(extra="forbid", strict=True)


class NewJob(BaseModel):
    """One video to render."""

    model_config = _STRICT

    model: Annotated[str, Field(max_length=200, description="Video model by id or short name; see `/v1/catalog`.")]
    input: Annotated[dict[str, Any], Field(description="The video model's parameters; see `/v1/catalog`.")]
    priority: Annotated[int, Field(ge=-PRIORITY_LIMIT, le=PRIORITY_LIMIT, description="Higher goes first.")] = 0
    max_attempts: Annotated[
        int, Field(ge=1, le=MAX_ATTEMPTS, description="Purchases at most, when renders fail and are refunded.")
    ] = 3

    def as_order(self) -> Order:
        return Order(video_model=self.model, input=self.input, priority=self.priority, max_attempts=self.max_attempts)


class NewJobs(BaseModel):
    """Jobs to be priced."""

    model_config = _STRICT

    jobs: list[NewJob]

    def as_orders(self) -> list[Order]:
        return [job.as_order() for job in self.jobs]


class NewBatch(NewJobs):
    """Jobs to be pushed together."""

    name: Annotated[
        str, Field(description="1 to 64 letters, digits, dots, dashes or underscores; also the folder of its videos.")
    ]
    finish_by: Annotated[
        AwareDatetime | None,
        Field(
            description="When it is to have ended, with its time zone. Nothing goes faster for it; it is told "
            "(`at_risk`, the event `batch.at_risk`) when it will hardly hold.",
            examples=["2026-11-05T13:00:00Z"],
        ),
    ] = None
