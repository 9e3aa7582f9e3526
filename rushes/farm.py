"""The state of the farm in one line."""

from sqlalchemy.orm import Session

from models.queries import BusyBatch, Farm, Whose, find_farm, list_busy_batches
from models.session import transaction
from rushes.runtime import Runtime

TOLD_BATCHES = 3


def describe_farm(runtime: Runtime) -> str:
    """Backlog, live renders, doubts, deferrals and lag; and how long the busiest batches still take."""
    with transaction(runtime.sessions) as session:
        batches = [_describe_batch(runtime, session, each) for each in list_busy_batches(session, count=TOLD_BATCHES)]
        return "; ".join([format_farm(find_farm(session)), *filter(None, batches)])


def _describe_batch(runtime: Runtime, session: Session, batch: BusyBatch) -> str:
    found = runtime.forecaster.forecast(session, Whose(batch_id=batch.batch_id))
    if found is None:
        return ""
    left = found.time_left
    interval = f"{left.low_seconds:,.0f} to {left.high_seconds:,.0f}"
    return f"{batch.name}: {left.expected_seconds:,.0f} s left ({interval})"


def format_farm(farm: Farm) -> str:
    """The same, of numbers at hand."""
    parts = [
        f"queued {farm.queued}",
        f"live {farm.live} of {farm.slots or 0} slots",
        f"rendering {farm.rendering}",
        f"storing {farm.storing}",
        f"in doubt {farm.unconfirmed}",
        f"over their watch window {farm.overdue_watches}",
        f"lag {max(0.0, farm.lag_seconds):.1f} s",
        f"account waits: {farm.deferred}" if farm.deferred else "account well",
    ]
    return ", ".join(parts)
