"""Jobs, batches and events as the API shows them. Money is in US dollars; times have their time zone."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

ENDED = frozenset({"succeeded", "failed", "cancelled"})


class Shown(BaseModel):
    """Something that the API shows. Fields that this version does not know are dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Cost(Shown):
    """What was paid, and what is held for renders without an outcome."""

    held: Decimal
    spent: Decimal


class JobError(Shown):
    """Why a job failed."""

    code: str
    message: str


class File(Shown):
    """A stored file. Its name is unique in its batch; None once it was removed."""

    file_name: str | None
    bytes: int
    sha256: str
    removed_at: datetime | None = None


class Job(Shown):
    """One video. `state` is queued, rendering, storing, succeeded, failed or cancelled."""

    id: UUID
    batch: str | None
    number: int | None
    model: str
    state: str
    input: dict[str, Any]
    client_ref: str | None
    metadata: dict[str, Any] | None
    priority: int
    price: Decimal
    cost: Cost
    error: JobError | None
    created_at: datetime
    ended_at: datetime | None
    video: File | None
    unverified: File | None
    warnings: list[str] = []

    @property
    def has_ended(self) -> bool:
        """Whether it has succeeded, failed or been cancelled."""
        return self.state in ENDED


class Batch(Shown):
    """Jobs pushed together. `states` counts them; `done` of `jobs` have ended."""

    id: UUID
    name: str
    jobs: int
    done: int
    states: dict[str, int]
    cost: Cost
    created_at: datetime
    ended_at: datetime | None
    finish_by: datetime | None = None
    at_risk: bool = False
    repeated: bool = False


class Event(Shown):
    """Something that happened to a job or a batch. `id` is the cursor to continue from."""

    id: int
    at: datetime
    kind: str
    job_id: UUID | None = None
    batch: str | None = None
    number: int | None = None
    client_ref: str | None = None
    metadata: dict[str, Any] | None = None
    detail: dict[str, Any] = {}
