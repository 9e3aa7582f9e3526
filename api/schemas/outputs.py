"""The output host, and files that fail the probe, as they are shown."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.values import Time
from models.queries.storing import OutputOutage
from rushes.jobs.why_waiting import describe_outage


class OutputOutageSeen(BaseModel):
    """An outage of the output host: downloads wait for its end, and no job fails for it."""

    since: Time = Field(description="When the first of the downloads failed.")
    failure: str = Field(description="How the last download failed.")
    waiting: int = Field(description="Jobs whose file is to be stored.")
    detail: str = Field(description="A sentence for people, with the next probe.")

    @classmethod
    def find(cls, outage: OutputOutage | None) -> Self | None:
        if outage is None:
            return None
        return cls(since=outage.since, failure=outage.failure, waiting=outage.waiting, detail=describe_outage(outage))


class RecheckAsked(BaseModel):
    """Which kept files to probe again; at least one filter."""

    model_config = ConfigDict(extra="forbid", strict=True)

    batch: Annotated[str | None, Field(description="Only jobs of this batch, by name or id.")] = None
    code: Annotated[
        str | None, Field(description="Only jobs that ended with this code.", examples=["output_unverified"])
    ] = None


class Rechecked(BaseModel):
    """What a recheck came to."""

    jobs: int = Field(description="Jobs whose kept files are being probed again.")
