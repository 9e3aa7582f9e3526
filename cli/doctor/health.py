"""The doctor's judgements of what the rows show: dispatcher, workers, account, work that is due, and webhooks."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy.exc import SQLAlchemyError

from models import queries
from models.db.errors import DatabaseAway
from models.db.session import Sessions, transaction
from models.queries.watching.webhooks import WebhookStats
from rushes.account_status import Condition
from rushes.jobs.why_waiting import describe_outage, describe_turns
from rushes.readiness import Readiness
from rushes.runtime import ACCOUNT
from rushes.settings import Settings

START = "start a worker: `rushes up`, or see docs/operations.md"

STOPPED_SECONDS = 10.0
"""The dispatcher has stopped if it has had no leader for this long. A lease lasts five seconds."""
STUCK_SECONDS = 600.0
"""An account that refuses for this long does not recover by itself."""
UNCONFIRMED_SECONDS = 600.0
"""An unconfirmed submission that needs no person is decided long before this."""
LAG_SECONDS = 60.0
"""In a working farm, nothing that is due waits this long."""
FEW = 0.5
"""The check warns if webhooks report a smaller share of ended renders in time. Checks still find every one."""

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """The name of a check, its finding, and the advice."""

    name: str
    status: Status
    message: str
    advice: str = ""


def judge_health(seen: Readiness) -> list[Check]:
    """Judge from the rows the dispatcher, the workers, the account, and the work that is due."""
    checks = [
        _judge_dispatcher(seen),
        _judge_workers(seen),
        _judge_account(seen),
        _judge_lag(seen),
        _judge_ledger(seen),
        _judge_unconfirmed(seen),
        _judge_outputs(seen),
        _judge_store(seen),
    ]
    return checks + ([_judge_batches(seen)] if seen.health.batches_at_risk else [])


def _judge_dispatcher(seen: Readiness) -> Check:
    health = seen.health
    if health.turn_error is not None:
        advice = "search for `dispatcher.` in the workers' logs; if the error lasts, restart the workers"
        failed = (health.turns_failing_seconds or 0) > STOPPED_SECONDS
        return Check("dispatcher", "failed" if failed else "warning", describe_turns(health), advice)
    if health.leader:
        return Check("dispatcher", "ok", f"{health.leader} leads")
    if health.workers and (health.leaderless_seconds or 0) > STOPPED_SECONDS:
        message = f"nobody has led for {health.leaderless_seconds:,.0f} s although workers live, so jobs wait"
        advice = "search for `dispatcher.` in the logs of the workers that consume `submit`, and restart those workers"
        return Check("dispatcher", "failed", message, advice)
    if health.workers and health.leaderless_seconds is not None:
        return Check("dispatcher", "warning", "nobody leads yet", "check again in ten seconds")
    return Check("dispatcher", "failed", "nobody leads, so jobs wait", START)


def _judge_workers(seen: Readiness) -> Check:
    if seen.health.workers:
        return Check("workers", "ok", f"{seen.health.workers} seen in the last 15 s")
    return Check("workers", "failed", "none seen in the last 15 s", START)


def _judge_account(seen: Readiness) -> Check:
    account = seen.account
    if account.is_ok:
        return Check("account", "ok", account.message)
    failed = account.stops_checks or account.condition is Condition.NO_CREDIT
    if account.condition is Condition.RATE_LIMITED and account.since is not None:
        failed = (datetime.now(UTC) - account.since).total_seconds() > STUCK_SECONDS
    return Check("account", "failed" if failed else "warning", account.message, account.what_to_do)


def _judge_lag(seen: Readiness) -> Check:
    message = f"the most overdue row is {seen.health.lag_seconds:,.0f} s late"
    if seen.health.lag_seconds <= LAG_SECONDS:
        return Check("lag", "ok", message)
    advice = "check that every queue has a live worker (`store` has its own), and add workers if the lag keeps growing"
    return Check("lag", "warning", message, advice)


def _judge_batches(seen: Readiness) -> Check:
    message = f"{seen.health.batches_at_risk:,} likely to miss their deadline"
    advice = (
        "`rushes batch show` forecasts the end of each; give the next such batch a higher --priority, or raise the "
        "account's limits"
    )
    return Check("batches", "warning", message, advice)


def _judge_ledger(seen: Readiness) -> Check:
    if not seen.health.duplicates:
        late = f"; {seen.health.stale_writes:,} stale write(s) so far, which changed nothing"
        return Check("ledger", "ok", f"there are no duplicate purchases{late}")
    message = f"{seen.health.duplicates:,} duplicate purchase(s) in seven days: each paid for in addition to another"
    advice = "raise RUSHES_LIST_LAG_SECONDS or RUSHES_FREEZE_ALLOWANCE_SECONDS; `rushes audit` names them"
    return Check("ledger", "warning", message, advice)


def _judge_unconfirmed(seen: Readiness) -> Check:
    health = seen.health
    if health.foreign:
        message = (
            f"the provider's list shows none of our predictions, so {health.foreign:,} submission(s) and render(s) wait"
        )
        advice = "check whether WAVESPEED_API_KEY belongs to another account; if not, decide with `rushes unconfirmed`"
        return Check("unconfirmed", "failed", message, advice)
    if not health.unconfirmed:
        return Check("unconfirmed", "ok", "the outcome of every submission is known")
    seconds = health.oldest_unconfirmed_seconds or 0
    message = f"{health.unconfirmed:,} unconfirmed submission(s), the oldest for {seconds:,.0f} s"
    if seconds <= UNCONFIRMED_SECONDS:
        return Check("unconfirmed", "ok", message)
    return Check("unconfirmed", "warning", message, "`rushes unconfirmed list` shows what they wait for")


def _judge_outputs(seen: Readiness) -> Check:
    if seen.outage is None:
        return Check("outputs", "ok", "no outage of the output host is known")
    advice = (
        "nothing is lost and no job fails: all downloads continue once one succeeds. If the outage lasts, check "
        "whether the host answers from this machine (proxy, firewall, DNS), and whether the provider reports an "
        "incident"
    )
    return Check("outputs", "failed", describe_outage(seen.outage), advice)


def _judge_store(seen: Readiness) -> Check:
    problem, free = seen.store
    if problem is not None:
        return Check("store", "failed", problem, "fix it: until then Rushes submits nothing, and bought videos wait")
    room = f"{free / 10**9:,.1f} GB free" if free is not None else "no store worker has reported its free space"
    return Check("store", "ok" if free is not None else "warning", room, "" if free is not None else START)


def check_webhooks(settings: Settings, sessions: Sessions) -> Check:
    """Judge the account's webhooks from settings and rows."""
    try:
        with transaction(sessions) as session:
            account = queries.dispatching.find_account(session, ACCOUNT)
            stats = queries.webhooks.find_webhook_stats(session, account.id) if account else WebhookStats(0, None, None)
    except (SQLAlchemyError, DatabaseAway):
        return Check("webhooks", "warning", "the database did not answer", "check again")
    return judge_webhooks(stats, has_public_url=settings.public_url is not None)


def judge_webhooks(stats: WebhookStats, *, has_public_url: bool) -> Check:
    """Judge the webhooks. Nothing waits for them, so this check never fails."""
    if not stats.asked:
        on, off = "are on; no render with a webhook address has ended yet", "are off: RUSHES_PUBLIC_URL is not set"
        return Check("webhooks", "ok", on if has_public_url else off)
    last = "none has arrived" if stats.last_seconds is None else f"the last arrived {_spell(stats.last_seconds)} ago"
    if stats.share is None:
        return Check(
            "webhooks", "ok", f"{stats.asked} renders with a webhook address have ended, too few to judge; {last}"
        )
    message = f"{stats.share:.0%} of the latest ended renders were reported in time; {last}"
    if stats.share >= FEW:
        return Check("webhooks", "ok", message)
    advice = (
        "checks still find every ended render; check that RUSHES_PUBLIC_URL reaches the API from outside with a valid "
        "certificate, and read the API's log for /v1/hooks/wavespeed"
    )
    return Check("webhooks", "warning", message, advice)


def _spell(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.0f} h"
