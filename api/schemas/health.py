"""Whether the service works."""

from typing import Literal, Self

from pydantic import BaseModel, Field

from api.schemas.accounts import AccountStatusSeen, OutputOutageSeen, StoreSeen
from api.schemas.values import Shown, ToTenths
from models.queries.health import EXPECTED_MIGRATION
from rushes.readiness import Readiness


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class ReadyStatus(BaseModel):
    """Whether the API can accept jobs, for callers without a key."""

    status: Literal["ready", "not ready"]


class Ready(Shown):
    """Whether the API can accept jobs, and which processes would render them."""

    status: Literal["ready", "not ready"]
    database: Literal["ok", "away"]
    database_problem: str | None = Field(description="Why the database cannot be used. Null if it can or is silent.")
    migration: str | None = Field(description="Current migration of the database.")
    expected_migration: str = Field(description="Newest migration that this version knows. It accepts later ones, too.")
    dispatcher: str | None = Field(description="The worker that leads. Without one, jobs are accepted but wait.")
    workers: int = Field(description="Worker processes seen in the last 15 seconds.")
    account: AccountStatusSeen | None = Field(
        description="Why the account is stopped, since when, and what to do. Null if it is not stopped."
    )
    turns_failing_seconds: ToTenths | None = Field(
        description="For how long every turn of the dispatcher has failed. More than 10 is a fault. Null if turns work."
    )
    turn_error: str | None = Field(description="The error of these turns.")
    dispatcher_away_seconds: ToTenths | None = Field(
        description="Time without a leader although workers are alive. More than 10 is a fault. Null if a worker leads."
    )
    batches_at_risk: int = Field(description="Open batches that are likely to miss their `finish_by`.")
    lag_seconds: ToTenths = Field(description="How late the most overdue row is. More than 60 is a fault.")
    stale_writes: int = Field(
        description="Writes so far that changed nothing because the claim or the state had changed. Many of them "
        "indicate frozen workers."
    )
    duplicates: int = Field(
        description="Predictions found in the last seven days after being marked not found or refused. Any is a fault."
    )
    unconfirmed: int = Field(description="Submissions with an unknown outcome, because their answers were lost.")
    oldest_unconfirmed_seconds: ToTenths | None = Field(
        description="Time since the oldest of them was posted. More than 600 is a fault. Null if there are none."
    )
    foreign_list: int = Field(
        description="Unconfirmed submissions and renders that wait because the provider's list shows no prediction "
        "accepted before them. Any is a fault: `WAVESPEED_API_KEY` probably belongs to another account."
    )
    outputs: OutputOutageSeen | None = Field(
        description="An outage of the output host: every download fails. It ends by itself. Null if there is none."
    )
    store: StoreSeen = Field(description="Whether videos can be stored. A `problem` is a fault: nothing is submitted.")

    @classmethod
    def of(cls, seen: Readiness) -> Self:
        health = seen.health
        return cls.copy_from(
            health,
            status="ready" if seen.ready else "not ready",
            database="ok" if seen.reachable else "away",
            database_problem=seen.problem,
            migration=seen.migration,
            expected_migration=EXPECTED_MIGRATION,
            dispatcher=health.leader,
            account=AccountStatusSeen.find(seen.account),
            dispatcher_away_seconds=health.leaderless_seconds,
            foreign_list=health.foreign,
            outputs=OutputOutageSeen.find(seen.outage),
            store=StoreSeen.copy_from(seen.store),
        )
