"""Batches by their numbers, and estimates."""

from datetime import timedelta
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.outputs import OutputOutageSeen
from api.schemas.values import IdCursor, Money, Time, TimeLeftEstimate, TimeLeftUnknown, encode_cursor
from rushes.jobs.batches import BatchView
from rushes.jobs.pushing import Estimate, Warned
from rushes.jobs.views import Page


class BatchWarning(BaseModel):
    """A warning, and how many jobs it is about."""

    message: str
    jobs: int

    @classmethod
    def list_of(cls, warnings: tuple[Warned, ...]) -> list[Self]:
        return [cls(message=each.message, jobs=each.jobs) for each in warnings]


class StateCounts(BaseModel):
    """Jobs by state."""

    queued: int
    rendering: int
    storing: int
    succeeded: int
    failed: int
    cancelled: int


class BatchCost(BaseModel):
    """What a batch costs, in US dollars."""

    estimated: Money = Field(description="Every job rendered once, by the catalogue.")
    held: Money = Field(description="For predictions without an outcome.")
    spent: Money = Field(description="For predictions that ended as paid.")


class BatchTimeLeft(TimeLeftEstimate):
    """The same with the points in time."""

    expected_at: Time
    low_at: Time
    high_at: Time

    @classmethod
    def of(cls, view: BatchView) -> Self | None:
        left = TimeLeftEstimate.find(view.forecast.time_left if view.forecast else None)
        if left is None:
            return None
        seconds = left.model_dump()
        ends = {name.replace("seconds", "at"): view.seen_at + timedelta(seconds=each) for name, each in seconds.items()}
        return cls(**seconds, **ends)


class BatchDetails(BaseModel):
    """Jobs pushed together."""

    id: UUID
    name: str
    jobs: int
    states: StateCounts
    done: int = Field(description="Jobs that have ended, well or not.")
    cost: BatchCost
    created_at: Time
    ended_at: Time | None = Field(description="When its last job ended.")
    elapsed_seconds: float = Field(description="From the push until now, or until its last job ended.")
    seconds_left: float | None = Field(
        description="On average, as in `time_left`; where that is null, by the rate so far. Null before the first job "
        "has ended, and where `time_left_unknown` is `paused` or `undecided`; listings, which do not tell that, go by "
        "the rate."
    )
    time_left: BatchTimeLeft | None = Field(
        default=None,
        description="Until its last job will have ended, by playing through the slots, the queue before it, the rate "
        "and the times that renders take. Null once it has ended, while `time_left_unknown` says why, in listings, "
        "and after a push without `finish_by`.",
    )
    time_left_unknown: TimeLeftUnknown = None
    finish_by: Time | None = Field(description="When it is to have ended, as its push said.")
    finish_by_chance: float | None = Field(
        description="How likely that holds, from 0 to 1; null without one, and where nothing is forecast."
    )
    at_risk: bool = Field(
        description="It will hardly hold: the chance fell below 0.9, and has not reached 0.97 since. Checked every "
        "ten seconds, and told by the events `batch.at_risk` and `batch.on_track`."
    )
    mean_seconds: float | None = Field(description="From push to file, over the jobs that succeeded.")
    outputs: OutputOutageSeen | None = Field(
        default=None,
        description="An outage of the output host that jobs of this batch wait for; null in listings, too.",
    )

    @classmethod
    def of(cls, view: BatchView, **more: Any) -> Self:
        summary = view.summary
        return cls(
            id=summary.id,
            name=summary.name,
            jobs=summary.job_count,
            states=StateCounts(**view.states),
            done=view.done,
            cost=BatchCost(estimated=summary.estimated, held=summary.held, spent=summary.spent),
            created_at=summary.created_at,
            ended_at=summary.ended_at,
            elapsed_seconds=_as_seconds(view.elapsed),
            seconds_left=None if view.left is None else _as_seconds(view.left),
            time_left=BatchTimeLeft.of(view) if view.forecast else None,
            time_left_unknown=view.unknown,
            finish_by=summary.finish_by,
            finish_by_chance=None if view.chance is None else round(view.chance, 3),
            at_risk=view.at_risk,
            mean_seconds=None if summary.mean_seconds is None else round(summary.mean_seconds, 3),
            outputs=OutputOutageSeen.find(view.outage),
            **more,
        )


def _as_seconds(length: timedelta) -> float:
    return round(length.total_seconds(), 3)


class BatchPushed(BatchDetails):
    """A batch that is stored, and what was changed on the way."""

    warnings: list[BatchWarning] = Field(description="Parameters that were dropped, for example.")


class BatchPage(BaseModel):
    """Batches, newest first."""

    items: list[BatchDetails]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[BatchView, UUID]) -> Self:
        return cls(items=[BatchDetails.of(view) for view in page.items], next_cursor=encode_cursor(page.next_key))


class BatchesAsked(BaseModel):
    """Which batches to list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=500, description="Batches per page.")
    cursor: IdCursor = Field(default=None, description="`next_cursor` of the page before.")


class Price(BaseModel):
    """What jobs would cost by the catalogue, in US dollars."""

    jobs: int
    cost: Money
    cost_by_model: dict[str, Money] = Field(description="By the video models' ids.")
    warnings: list[BatchWarning]

    @classmethod
    def of(cls, estimate: Estimate) -> Self:
        return cls(
            jobs=estimate.jobs,
            cost=estimate.cost,
            cost_by_model=estimate.cost_by_model,
            warnings=BatchWarning.list_of(estimate.warnings),
        )
