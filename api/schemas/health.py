"""Whether the service works."""

from typing import Literal, Self

from pydantic import BaseModel, Field

from api.schemas.outputs import OutputOutageSeen
from models.queries.health import EXPECTED_MIGRATION
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
    dispatcher_away_seconds: float | None = Field(
        description="How long nobody has led, although workers live; more than 10 is a fault. Null: somebody leads."
    )
    account_waits_seconds: float | None = Field(
        description="Since the first of the refusals in a row; more than 600 is a fault. Null: the account is well."
    )
    batches_at_risk: int = Field(description="Open batches that will hardly have ended by their `finish_by`.")
    lag_seconds: float = Field(description="How long the most overdue row has been due; more than 60 is a fault.")
    paused: str | None = Field(description="Why nothing is submitted by our own will: a restore, or a person.")
    stale_writes: int = Field(
        description="Writes that moved nothing since claim or state had changed, so far; many tell of frozen workers."
    )
    duplicates: int = Field(
        description="Predictions found after being marked not found or refused, in the last seven days; any is a fault."
    )
    unconfirmed: int = Field(description="Submissions whose outcome nobody knows: their answers were lost.")
    oldest_unconfirmed_seconds: float | None = Field(
        description="Since the oldest of them was posted; more than 600 is a fault. Null: there are none."
    )
    foreign_list: int = Field(
        description="Unconfirmed submissions and renders that wait, since the provider's list shows none of what was "
        "accepted before them; any is a fault: `WAVESPEED_API_KEY` is probably another account's."
    )
    outputs: OutputOutageSeen | None = Field(
        description="An outage of the output host: every download fails. It ends by itself; null: there is none."
    )

    @classmethod
    def of(cls, seen: Readiness) -> Self:
        return cls(
            status="ready" if seen.ready else "not ready",
            database="ok" if seen.reachable else "away",
            migration=seen.migration,
            expected_migration=EXPECTED_MIGRATION,
            dispatcher=seen.health.leader,
            workers=seen.health.workers,
            account=seen.health.back_off,
            dispatcher_away_seconds=_rounded(seen.health.leaderless_seconds),
            account_waits_seconds=_rounded(seen.health.back_off_seconds),
            batches_at_risk=seen.health.batches_at_risk,
            lag_seconds=round(seen.health.lag_seconds, 1),
            paused=seen.health.paused,
            stale_writes=seen.health.stale_writes,
            duplicates=seen.health.duplicates,
            unconfirmed=seen.health.unconfirmed,
            oldest_unconfirmed_seconds=_rounded(seen.health.oldest_unconfirmed_seconds),
            foreign_list=seen.health.foreign,
            outputs=OutputOutageSeen.find(seen.outage),
        )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
