"""The state of the farm in one line."""

from sqlalchemy.orm import Session

from models.db.session import transaction
from models.queries.dispatching import find_account
from models.queries.forecasting import BusyBatch, Whose, list_busy_batches
from models.queries.health import FarmStatus, find_farm
from models.queries.storing import find_output_outage
from models.queries.watching.webhooks import measure_webhook_delivery
from rushes.jobs.why_waiting import describe_outage
from rushes.runtime import ACCOUNT, Runtime

REPORTED_BATCHES = 3


def describe_farm(runtime: Runtime) -> str:
    """Describe the backlog, live renders, unconfirmed submissions, back-offs and lag.

    Also describes an outage of the output host, the delivery of webhooks, and the time left of the busiest batches.
    """
    with transaction(runtime.sessions) as session:
        batches = [
            _describe_batch(runtime, session, each) for each in list_busy_batches(session, count=REPORTED_BATCHES)
        ]
        outage = find_output_outage(session)
        outputs = describe_outage(outage) if outage is not None else ""
        parts = [format_farm(find_farm(session)), outputs, _describe_webhooks(runtime, session), *batches]
    return "; ".join(filter(None, parts))


def _describe_webhooks(runtime: Runtime, session: Session) -> str:
    account = find_account(session, ACCOUNT) if runtime.settings.public_url is not None else None
    share = measure_webhook_delivery(session, account.id).share if account is not None else None
    return "" if share is None else f"webhooks report {share:.0%} of ended renders in time"


def _describe_batch(runtime: Runtime, session: Session, batch: BusyBatch) -> str:
    found = runtime.forecaster.forecast(session, Whose(batch_id=batch.batch_id)).forecast
    if found is None:
        return ""
    left = found.time_left
    interval = f"{left.low_seconds:,.0f} to {left.high_seconds:,.0f}"
    return f"{batch.name}: {left.expected_seconds:,.0f} s left ({interval})"


def format_farm(farm: FarmStatus) -> str:
    """Describe the given numbers alone, without outage, webhooks and batches."""
    parts = [
        f"queued {farm.queued}",
        f"live {farm.live} of {farm.slots or 0} slots",
        f"rendering {farm.rendering}",
        f"storing {farm.storing}",
        f"unconfirmed {farm.unconfirmed}",
        f"over their watch window {farm.overdue_watches}",
        f"lag {max(0.0, farm.lag_seconds):.1f} s",
        f"duplicates {farm.duplicates}",
        f"stale writes {farm.stale_writes}",
        f"account paused: {farm.paused}" if farm.paused else "",
        f"account waits: {farm.back_off}" if farm.back_off else "account well",
    ]
    return ", ".join(filter(None, parts))
