"""The output host, and files that fail the probe, as the API shows them."""

from typing import Self

from pydantic import Field

from api.schemas.values import Shown, Time
from models.queries.storing import OutputOutage
from rushes.jobs.why_waiting import describe_outage


class OutputOutageSeen(Shown):
    """An outage of the output host. Downloads wait until it ends, and no job fails because of it."""

    since: Time = Field(description="When the first download failed.")
    failure: str = Field(description="How the last download failed.")
    waiting: int = Field(description="Jobs with a file still to be stored.")
    detail: str = Field(description="Message for people, with the next probe.")

    @classmethod
    def find(cls, outage: OutputOutage | None) -> Self | None:
        return None if outage is None else cls.copy_from(outage, detail=describe_outage(outage))


class StoreSeen(Shown):
    """Whether the store workers can store further videos. If none can, Rushes submits nothing."""

    problem: str | None = Field(description="Why no store worker can store further videos. Null if one can.")
    free_bytes: int | None = Field(description="Free space for videos. Null if no store worker has reported it.")
