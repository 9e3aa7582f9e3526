"""The doctor's check of webhooks: whether they are requested and arrive in time, and when the last one arrived."""

from sqlalchemy.exc import SQLAlchemyError

from cli.doctor.result import Check
from models import queries
from models.db.errors import DatabaseAway
from models.db.session import Sessions, transaction
from models.queries.watching.webhooks import WebhookStats
from rushes.runtime import ACCOUNT
from rushes.settings import Settings

FEW = 0.5
"""The check warns if webhooks report a smaller share of ended renders in time. Checks still find every one."""


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
