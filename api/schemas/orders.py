"""Several jobs as a caller asks for them."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from rushes.jobs.orders import JobOrder

_STRICT = ConfigDict(extra="forbid", strict=True)


class NewJobs(BaseModel):
    """Jobs to be priced."""

    model_config = _STRICT

    jobs: list[JobOrder]


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
