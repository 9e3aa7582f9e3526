"""Whether the service works."""

from typing import Literal, Self

from pydantic import BaseModel, Field

from models.queries import EXPECTED_MIGRATION
from rushes.readiness import Readiness


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Ready(BaseModel):
    """Whether jobs can be accepted, and who would render them."""

    status: Literal["ready", "not ready"]
    database: Literal["ok", "away"]
    migration: str | None = Field(description="The one that the database is at.")
    expected_migration: str = Field(description="The newest one that this version knows; it takes later ones too.")
    dispatcher: str | None = Field(description="The worker that leads; without one, jobs are accepted but wait.")
    workers: int = Field(description="Worker processes seen in the last 15 seconds.")
    account: str | None = Field(description="Why the provider's account takes no submissions; null: it does.")

    @classmethod
    def of(cls, seen: Readiness) -> Self:
        return cls(
            status="ready" if seen.ready else "not ready",
            database="ok" if seen.reachable else "away",
            migration=seen.migration,
            expected_migration=EXPECTED_MIGRATION,
            dispatcher=seen.health.leader,
            workers=seen.health.workers,
            account=seen.health.deferred,
        )
