"""What a person asks to be removed, and what was removed."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import BaseModel, Field

from api.schemas.values import Body, Shown
from rushes.access.callers import Caller
from rushes.jobs.pruning import count_prunable, prune_older_than
from rushes.runtime import Runtime


class PruneAsked(Body):
    """Which jobs to remove."""

    older_than_days: Annotated[float, Field(ge=8, le=36_500, examples=[90])]
    dry_run: Annotated[bool, Field(description="Only count what would be removed.")] = False


class RemovedCounts(Shown):
    """How much was removed."""

    jobs: int
    predictions: int
    events: int
    batches: int = Field(description="A batch goes with its last job, and an hour after its deletion at the earliest.")
    files: int


class PrunableCounts(Shown):
    """How much would be removed, and what would stay although it is old."""

    jobs: int
    batches: int
    files: int
    bytes: int
    unverified: int = Field(description="Unverified files: they stay until a recheck, a retry or the batch's deletion.")
    waiting: int = Field(description="Jobs that stay because something may still come of a purchase.")


class PruneResult(BaseModel):
    """The result of one request."""

    removed: RemovedCounts | None = Field(description="Null after a dry run.")
    prunable: PrunableCounts | None = Field(description="Only after a dry run.")
    misplaced: int = Field(description="Files outside the folder of `RUSHES_ARTIFACTS_URL`. They and their rows stay.")
    done: bool = Field(description="Nothing is left to remove; false: repeat the request.")

    @classmethod
    def of(cls, runtime: Runtime, asked: PruneAsked, caller: Caller) -> Self:
        age = timedelta(days=asked.older_than_days)
        if asked.dry_run:
            counts = PrunableCounts.copy_from(count_prunable(runtime.sessions, age))
            return cls(removed=None, prunable=counts, misplaced=0, done=True)
        pruned = prune_older_than(runtime, age, caller=caller)
        removed = RemovedCounts.copy_from(pruned)
        return cls(removed=removed, prunable=None, misplaced=pruned.misplaced, done=pruned.done)
