"""The doctor's question about webhooks: whether they are asked for, come in time, and when the last came."""

from sqlalchemy.exc import SQLAlchemyError

from cli.doctor.result import Check
from models import queries
from models.db.errors import DatabaseAway
from models.db.session import Sessions, transaction
from models.queries.watching.webhooks import WebhookStats
from rushes.runtime import ACCOUNT
from rushes.settings import Settings

FEW = 0.5
"""A smaller share told in time is worth a warning; every end is found by checks all the same."""


def check_webhooks(settings: Settings, sessions: Sessions) -> Check:
    """What settings and rows tell of the account's webhooks."""
    try:
        with transaction(sessions) as session:
            account = queries.dispatching.find_account(session, ACCOUNT)
            stats = queries.webhooks.find_webhook_stats(session, account.id) if account else WebhookStats(0, None, None)
    except (SQLAlchemyError, DatabaseAway):
        return Check("webhooks", "warning", "the database did not tell", "ask again")
    return judge_webhooks(stats, has_public_url=settings.public_url is not None)


def judge_webhooks(stats: WebhookStats, *, has_public_url: bool) -> Check:
    """Nothing waits for webhooks, so none of this fails."""
    if not stats.asked:
        on, off = "are on, no render with one has ended yet", "are off: RUSHES_PUBLIC_URL is not set"
        return Check("webhooks", "ok", on if has_public_url else off)
    last = "none ever came" if stats.last_seconds is None else f"the last came {_spell(stats.last_seconds)} ago"
    if stats.share is None:
        return Check("webhooks", "ok", f"{stats.asked} renders with one have ended, too few to tell; {last}")
    message = f"{stats.share:.0%} of the latest ends were told in time; {last}"
    if stats.share >= FEW:
        return Check("webhooks", "ok", message)
    advice = (
        "checks find every end meanwhile; see that RUSHES_PUBLIC_URL reaches the API from outside with a valid "
        "certificate, and what its log says of /v1/hooks/wavespeed"
    )
    return Check("webhooks", "warning", message, advice)


def _spell(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.0f} h"
