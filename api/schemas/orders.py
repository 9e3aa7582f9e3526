"""Requests for several jobs."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from rushes.jobs.orders import JobOrder

_STRICT = ConfigDict(extra="forbid", strict=True)


class NewJobs(BaseModel):
    """Jobs to price."""

    model_config = _STRICT

    jobs: list[JobOrder]


class NewBatch(NewJobs):
    """Jobs to push together."""

    name: Annotated[
        str, Field(description="1 to 64 letters, digits, dots, dashes or underscores; also the folder of its videos.")
    ]
    finish_by: Annotated[
        AwareDatetime | None,
        Field(
            description="Deadline of the batch, with its time zone. It does not speed anything up. `at_risk` and the "
            "event `batch.at_risk` report that the batch is likely to miss it.",
            examples=["2026-11-05T13:00:00Z"],
        ),
    ] = None
