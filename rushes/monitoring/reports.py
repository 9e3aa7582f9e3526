"""The reports that the leader requests every few seconds: the state of the farm in one line, and batches at risk.

A batch is at risk if it will probably miss its `finish_by`. Each change, to at risk or back on track, is recorded once.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.orm import Session

from models import queries, transitions
from models.db.session import transaction
from models.queries.dispatching import find_account
from models.queries.forecasting import BusyBatch, Promise, Whose, list_busy_batches
from models.queries.health import FarmStatus, find_farm, find_health
from models.queries.storing import find_output_outage
from models.queries.watching.webhooks import measure_webhook_delivery
from rushes.account_status import AccountStatus, find_account_status
from rushes.forecasting.forecaster import UnknownReason
from rushes.forecasting.simulation import Forecast
from rushes.jobs.why_waiting import describe_outage, describe_slots, describe_turns, explain_next
from rushes.runtime import ACCOUNT, Runtime

AT_RISK_BELOW = 0.90
ON_TRACK_FROM = 0.97
"""Higher than `AT_RISK_BELOW`, so that a chance between the two changes nothing and the state does not flap."""
CHECKED_BATCHES = 100
"""The number of batches checked at a time, the most urgent first."""
REPORTED_BATCHES = 3

log = structlog.get_logger(__name__)


def check_risks(runtime: Runtime) -> str:
    """Compare every open batch that has a `finish_by` with its forecast. Returns a line with the findings."""
    with transaction(runtime.sessions) as session:
        promises = queries.forecasting.list_promises(session, count=CHECKED_BATCHES)
    lines = [line for line in (_check(runtime, promise) for promise in promises) if line]
    return "; ".join(lines) or f"checked {len(promises)} batch(es)"


def _check(runtime: Runtime, promise: Promise) -> str | None:
    with transaction(runtime.sessions) as session:
        # While the account is stopped or a person must decide, the batch can only end later. So a risk is recorded, but
        # none is withdrawn.
        found = runtime.forecaster.forecast(session, Whose(batch_id=promise.batch_id))
        waits_for = found.unknown
        if waits_for not in {None, UnknownReason.NO_DISPATCHER}:
            found = runtime.forecaster.forecast(session, Whose(batch_id=promise.batch_id), as_if_resumed=True)
        if found.forecast is None:
            return None
        chance = found.forecast.chance_within(promise.seconds_left)
        detail = _describe(promise, found.forecast, chance, waits_for=waits_for)
        if not promise.at_risk and chance < AT_RISK_BELOW:
            kind, noted = "batch.at_risk", transitions.jobs.note_at_risk(session, promise.batch_id, detail)
        elif promise.at_risk and chance >= ON_TRACK_FROM and not waits_for:
            kind, noted = "batch.on_track", transitions.jobs.note_on_track(session, promise.batch_id, detail)
        else:
            return None
    if not noted:
        return None
    write = log.warning if kind == "batch.at_risk" else log.info
    write(kind, batch=promise.name, **detail)
    return f"{kind} {promise.name}: {chance:.0%} likely to hold"


def _describe(
    promise: Promise, forecast: Forecast, chance: float, *, waits_for: UnknownReason | None
) -> dict[str, Any]:
    lines: dict[str, Any] = {"finish_by": _spell(promise.finish_by), "chance": round(chance, 3)}
    if waits_for:  # its end is unknown
        return {**lines, waits_for.value: True}
    now = promise.finish_by - timedelta(seconds=promise.seconds_left)
    left = forecast.time_left
    return {
        **lines,
        "expected_at": _spell(now + timedelta(seconds=left.expected_seconds)),
        "low_at": _spell(now + timedelta(seconds=left.low_seconds)),
        "high_at": _spell(now + timedelta(seconds=left.high_seconds)),
    }


def _spell(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


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
        health = find_health(session)
        turns = "" if health.turn_error is None else describe_turns(health)
        status = find_account_status(session, ACCOUNT)
        parts = [
            format_farm(find_farm(session), status),
            turns,
            outputs,
            _describe_next(session, status),
            _describe_webhooks(runtime, session),
            *batches,
        ]
    return "; ".join(filter(None, parts))


def _describe_next(session: Session, status: AccountStatus) -> str:
    """Describe why the next job waits, unless the account's status has said so."""
    wait = explain_next(session)
    return f"the next job {wait.message}" if wait is not None and wait.reason != status.condition else ""


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


def format_farm(farm: FarmStatus, status: AccountStatus) -> str:
    """Describe the given numbers alone, without outage, webhooks and batches."""
    parts = [
        f"queued {farm.queued}",
        f"live {describe_slots(farm)}",
        f"storing {farm.storing}",
        f"unconfirmed {farm.unconfirmed}",
        f"over their watch window {farm.overdue_watches}",
        f"lag {max(0.0, farm.lag_seconds):.1f} s",
        f"duplicates {farm.duplicates}",
        f"stale writes {farm.stale_writes}",
        "account well" if status.is_ok else f"{status.message}; {status.what_to_do}",
    ]
    return ", ".join(filter(None, parts))
