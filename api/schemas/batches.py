"""Summaries of batches, and estimates."""

from datetime import timedelta
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.accounts import AccountStatusSeen, OutputOutageSeen
from api.schemas.jobs import WaitSeen
from api.schemas.values import IdCursor, Money, PageShown, Shown, Time, TimeLeftEstimate, TimeLeftUnknown, ToThousandths
from models import BatchState
from rushes.jobs.batches import BatchView


class BatchWarning(Shown):
    """A warning, and the number of jobs it concerns."""

    message: str
    jobs: int


class StateCounts(BaseModel):
    """Jobs by state."""

    queued: int
    rendering: int
    storing: int
    succeeded: int
    failed: int
    cancelled: int


class BatchCost(Shown):
    """The cost of a batch in US dollars."""

    estimated: Money = Field(description="Catalogue price of rendering every job once.")
    held: Money = Field(description="For predictions without an outcome.")
    spent: Money = Field(description="For predictions that ended as paid.")


class BatchTimeLeft(TimeLeftEstimate):
    """The remaining time of a batch, also as points in time."""

    expected_at: Time
    low_at: Time
    high_at: Time

    @classmethod
    def of(cls, view: BatchView) -> Self | None:
        if view.forecast is None:
            return None
        seconds = view.forecast.time_left.as_numbers()
        ends = {name.replace("seconds", "at"): view.seen_at + timedelta(seconds=each) for name, each in seconds.items()}
        return cls(**seconds, **ends)


class BatchDetails(Shown):
    """Jobs pushed together."""

    id: UUID
    tenant: str
    name: str
    state: BatchState = Field(
        description="`open`: it takes more jobs, and renders those that it has. `sealed`: it takes no more. "
        "`cancelled`: it was cancelled while open, or all of its jobs were. `ended`: all of its jobs have, which is "
        "recorded within a second. A retry makes it `sealed` again."
    )
    jobs: int
    states: StateCounts
    waiting_at_provider: int = Field(
        description="Jobs of `states.rendering` that were submitted beyond the slots and wait at the provider for a "
        "slot. Always 0 in listings."
    )
    done: int = Field(description="Jobs that have succeeded, failed or been cancelled.")
    cost: BatchCost
    created_at: Time
    sealed_at: Time | None = Field(description="Since when it takes no more jobs. Null while it is open.")
    ended_at: Time | None = Field(description="When its last job ended. Null while it is open.")
    elapsed_seconds: ToThousandths = Field(description="From the push until now, or until its last job ended.")
    seconds_left: ToThousandths | None = Field(
        description="Expected time left, as in `time_left`; if that is null, derived from the rate so far. Null before "
        "the first job has ended, and while `time_left_unknown` gives a reason. Listings omit `time_left_unknown` and "
        "use the rate."
    )
    time_left: BatchTimeLeft | None = Field(
        default=None,
        description="Time until the last job ends, simulated from the slots, the queue ahead, the rate and the render "
        "times. Null once the batch has ended, while `time_left_unknown` gives a reason, in listings, "
        "and after a push without `finish_by`.",
    )
    time_left_unknown: TimeLeftUnknown = None
    finish_by: Time | None = Field(description="The deadline given with the push.")
    finish_by_chance: ToThousandths | None = Field(
        description="Probability from 0 to 1 that the batch ends by `finish_by`. Null without `finish_by`, and without "
        "a forecast."
    )
    at_risk: bool = Field(
        description="The batch is likely to miss `finish_by`: the chance fell below 0.9 and has not reached 0.97 "
        "since. Checked every ten seconds. The events `batch.at_risk` and `batch.on_track` record each change."
    )
    mean_seconds: ToThousandths | None = Field(description="Mean time from push to file, over the jobs that succeeded.")
    deleted_at: Time | None = Field(
        description="Since when its files and rows are being removed, by a person or because of their age. From then "
        "on `states` and `cost` count only the jobs that still have rows."
    )
    folder: str | None = Field(
        default=None, description="The folder of its videos on the server. Always null in listings."
    )
    wait: WaitSeen | None = Field(default=None, description="Why the next of its queued jobs waits.")
    account: AccountStatusSeen | None = Field(
        default=None,
        description="Why the account is stopped. Null if it is not stopped or every job has ended, and always null in "
        "listings.",
    )
    outputs: OutputOutageSeen | None = Field(
        default=None,
        description="An outage of the output host that delays jobs of this batch. Null if there is no such outage, and "
        "always null in listings.",
    )

    @classmethod
    def of(cls, view: BatchView, **more: Any) -> Self:
        summary = view.summary
        return cls.copy_from(
            summary,
            jobs=summary.job_count,
            states=view.states,
            done=view.done,
            waiting_at_provider=view.waiting_at_provider,
            cost=BatchCost.copy_from(summary),
            elapsed_seconds=view.elapsed.total_seconds(),
            seconds_left=None if view.left is None else view.left.total_seconds(),
            time_left=BatchTimeLeft.of(view),
            time_left_unknown=view.unknown,
            finish_by_chance=view.chance,
            at_risk=view.at_risk,
            account=AccountStatusSeen.find(view.account),
            wait=WaitSeen.copy_from(view.wait) if view.wait else None,
            outputs=OutputOutageSeen.find(view.outage),
            **more,
        )


class BatchPushed(BatchDetails):
    """A stored batch, with warnings about changes to its jobs."""

    warnings: list[BatchWarning] = Field(description="For example, parameters that were dropped.")
    repeated: bool = Field(description="These jobs were pushed before. This is their batch; nothing new is bought.")


class JobsAdded(Shown):
    """Jobs that were added to an open batch."""

    batch: str
    added: int
    first_number: int = Field(description="The number of the first of them. They have the order of the lines.")
    jobs: int = Field(description="The jobs that the batch has now.")
    cost: Money = Field(description="Catalogue price of rendering each of the added jobs once.")
    warnings: list[BatchWarning]


class BatchPage(PageShown[BatchDetails]):
    """Batches, newest first."""


class BatchesAsked(BaseModel):
    """Which batches to list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=500, description="Batches per page.")
    cursor: IdCursor = Field(default=None, description="`next_cursor` of the previous page.")


class Price(Shown):
    """Catalogue price of jobs, in US dollars."""

    jobs: int
    cost: Money
    cost_by_model: dict[str, Money] = Field(description="Keyed by video model id.")
    warnings: list[BatchWarning]
    first_time_left: TimeLeftEstimate | None = Field(
        default=None, description="With `forecast`: time until the first of these jobs would end. Null as `time_left`."
    )
    time_left: TimeLeftEstimate | None = Field(
        default=None,
        description="With `forecast`: time until the last of them would end. Null without a dispatcher, and while the "
        "account's status stops submissions.",
    )
