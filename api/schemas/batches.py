"""Batches by their numbers, and estimates."""

from datetime import timedelta
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.values import IdCursor, Money, Time, encode_cursor
from rushes.jobs import Estimate, Warned
from rushes.progress import BatchView
from rushes.views import Page


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
    held: Money = Field(description="For predictions without a verdict.")
    spent: Money = Field(description="For predictions that ended as paid.")


class Batch(BaseModel):
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
    seconds_left: float | None = Field(description="By the rate so far; null before the first job has ended.")
    mean_seconds: float | None = Field(description="From push to file, over the jobs that succeeded.")

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
            mean_seconds=None if summary.mean_seconds is None else round(summary.mean_seconds, 3),
            **more,
        )


def _as_seconds(length: timedelta) -> float:
    return round(length.total_seconds(), 3)


class BatchPushed(Batch):
    """A batch that is stored, and what was changed on the way."""

    warnings: list[BatchWarning] = Field(description="Parameters that were dropped, for example.")


class BatchPage(BaseModel):
    """Batches, newest first."""

    items: list[Batch]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[BatchView, UUID]) -> Self:
        return cls(items=[Batch.of(view) for view in page.items], next_cursor=encode_cursor(page.next_key))


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
