"""Batches: their progress, their cost and their time left."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from models import Batch, Event, JobState, queries
from models.db.session import Sessions, transaction
from models.lifecycle import JOB_ENDED
from models.queries.forecasting import Whose
from models.queries.jobs import BatchSummary
from models.queries.storing import OutputOutage
from models.transitions.jobs import NewJob
from rushes.account_status import ACCOUNT, AccountStatus, find_account_status
from rushes.errors import NotFound
from rushes.forecasting.forecaster import Forecaster, UnknownReason
from rushes.forecasting.simulation import Forecast
from rushes.forecasting.time_left import TimeLeft
from rushes.jobs.views import Page, cut_page
from rushes.jobs.why_waiting import JobWait, explain_next


@dataclass(frozen=True, slots=True)
class BatchView:
    """The numbers of a batch at `seen_at`, by the database's clock."""

    summary: BatchSummary
    seen_at: datetime
    forecast: Forecast | None = None
    unknown: UnknownReason | None = None  # why there is no forecast
    outage: OutputOutage | None = None  # of the output host, if jobs of the batch wait for it
    waiting_at_provider: int = 0  # renders beyond the slots
    account: AccountStatus | None = None  # if it stops the account and the batch has not ended
    wait: JobWait | None = None  # of its next queued job

    @property
    def states(self) -> dict[str, int]:
        """Number of jobs by state; every state is listed."""
        return {state.value: self.summary.states.get(state, 0) for state in JobState}

    @property
    def done(self) -> int:
        """Number of jobs that have ended, successfully or not. All jobs of a deleted batch have."""
        if self.summary.deleted_at is not None:
            return self.summary.job_count
        return sum(self.states[state] for state in JOB_ENDED)

    @property
    def elapsed(self) -> timedelta:
        """Time from the push until now, or until the last job ended."""
        return (self.summary.ended_at or self.seen_at) - self.summary.created_at

    @property
    def chance(self) -> float | None:
        """The chance that the batch ends by its `finish_by`; None without one, or without a forecast."""
        if self.summary.finish_by is None or self.forecast is None:
            return None
        return self.forecast.chance_within((self.summary.finish_by - self.seen_at).total_seconds())

    @property
    def at_risk(self) -> bool:
        """The batch is open and was recorded as likely to miss its `finish_by`."""
        return self.summary.at_risk_at is not None and self.done < self.summary.job_count

    @property
    def left(self) -> timedelta | None:
        """Time until the last job ends, by the forecast, or else by the rate so far.

        Without a forecast it is None before the first job has ended, and while the reason is known.
        """
        if self.forecast is not None:
            return timedelta(seconds=self.forecast.time_left.expected_seconds)
        if not self.done or self.unknown:
            return None
        return self.elapsed * ((self.summary.job_count - self.done) / self.done)


def get_batch(sessions: Sessions, batch_id: UUID, *, forecaster: Forecaster | None = None) -> BatchView:
    """Return the batch with this id, with its forecast if a `forecaster` is given. Raises `NotFound`."""
    with transaction(sessions) as session:
        summary = next(iter(queries.jobs.summarise_batches(session, [batch_id])), None)
        if summary is None:
            raise NotFound(f"there is no batch {batch_id}")
        outage = queries.storing.find_output_outage(session) if summary.states.get(JobState.STORING) else None
        view = BatchView(summary, queries.health.read_clock(session), outage=outage)
        if forecaster is None or view.done == summary.job_count:
            return view
        found = forecaster.forecast(session, Whose(batch_id=batch_id))
        status = find_account_status(session, ACCOUNT)
        account = None if status.is_ok else status
        waiting = queries.jobs.count_waiting_at_provider(session, batch_id)
        view = replace(view, waiting_at_provider=waiting, account=account, wait=explain_next(session, batch_id))
        return replace(view, forecast=found.forecast, unknown=found.unknown)


def view_pushed_batch(
    sessions: Sessions, batch: Batch, *, tenant: str, cost: Decimal, forecaster: Forecaster
) -> BatchView:
    """Return a tenant's batch right after its push, at `cost` dollars. Only one with a `finish_by` gets a forecast."""
    nothing, states = Decimal(0), {JobState.QUEUED.value: batch.job_count}
    numbers = (
        batch.id,
        tenant,
        batch.name,
        batch.job_count,
        batch.created_at,
        states,
        cost,
        None,
        nothing,
        nothing,
        None,
    )
    summary = BatchSummary(*numbers, finish_by=batch.finish_by, sealed_at=batch.sealed_at)
    view = BatchView(summary, batch.created_at)
    if batch.finish_by is None or not batch.job_count:
        return view
    with transaction(sessions) as session:
        found = forecaster.forecast(session, Whose(batch_id=batch.id))
    return replace(view, forecast=found.forecast, unknown=found.unknown)


def forecast_push(sessions: Sessions, jobs: Sequence[NewJob], *, forecaster: Forecaster) -> tuple[TimeLeft, ...]:
    """Forecast when the first and the last of these jobs would end if they were pushed now; nothing if unknown."""
    with transaction(sessions) as session:
        return forecaster.forecast_push(session, [(each.video_model, each.input) for each in jobs])


def list_batch_events(sessions: Sessions, batch_id: UUID, *, limit: int, after: int) -> Page[Event, int]:
    """List the events of a batch as a whole, oldest first."""
    with transaction(sessions) as session:
        events = queries.jobs.list_batch_events(session, batch_id, limit=limit + 1, after=after)
    return cut_page(events, limit=limit, key=lambda event: event.id)


def list_batches(
    sessions: Sessions, *, tenant_id: UUID | None, limit: int, before: UUID | None
) -> Page[BatchView, UUID]:
    """List batches of a tenant, or all, newest first."""
    with transaction(sessions) as session:
        batches = queries.jobs.list_batches(session, limit=limit + 1, before=before, tenant_id=tenant_id)
        page = cut_page(batches, limit=limit, key=lambda batch: batch.id)
        summaries = queries.jobs.summarise_batches(session, [batch.id for batch in page.items])
        seen_at = queries.health.read_clock(session)
    return Page([BatchView(summary, seen_at) for summary in summaries], page.next_key)
