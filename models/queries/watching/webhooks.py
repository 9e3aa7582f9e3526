"""Webhooks as the rows record them: how many came in time, and whether they were right."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_one, statement

IN_TIME = timedelta(seconds=5)
"""A webhook that comes up to this long after we knew counts as delivered; a later one does not."""

WINDOW = 200
RECENT = 40
"""How many of the latest of these ends show that deliveries have stopped."""

CHANCE = 0.1
"""If the recent share is lower by no more than this, it may be chance."""

FEWEST = 5
"""With fewer ends than this, no share is reported."""


class ReportedEnds(NamedTuple):
    """How many ends a webhook could have reported, and how many it reported in time."""

    delivered: int
    ended: int

    @property
    def share(self) -> float | None:
        """From 0 to 1; None if too few have ended."""
        return self.delivered / self.ended if self.ended >= FEWEST else None

    @property
    def belief(self) -> float:
        """The chance that the next one is delivered, above 0 and below 1. By Jeffreys' rule: 0.5 before any has
        ended."""
        return (self.delivered + 0.5) / (self.ended + 1)


class Agreement(NamedTuple):
    """How often a webhook and a check reported the same outcome, among the latest renders that both reported on."""

    agreed: int
    disagreed: int


class WebhookStats(NamedTuple):
    """How webhooks have been delivered recently."""

    asked: int  # ends of renders that were posted with an address, at most the latest 200
    share: float | None  # share reported in time, 0 to 1; None if there are too few ends
    last_seconds: float | None  # since the last webhook of these came; None: none came


_SECRET = statement("SELECT hook_secret FROM account WHERE name = :name")


def find_hook_secret(session: Session, name: str) -> bytes | None:
    """The key that signs the tokens of this account's webhooks; None if there is no such account."""
    secret: bytes | None = session.execute(_SECRET, {"name": name}).scalar_one_or_none()
    return secret


_DELIVERY = statement("""
    SELECT coalesce(sum(came), 0) AS delivered, count(*) AS ended,
        coalesce(sum(came) FILTER (WHERE place <= :recent), 0) AS delivered_recently,
        count(*) FILTER (WHERE place <= :recent) AS ended_recently
    FROM (
        SELECT coalesce(hooked_at <= ended_at + :in_time, false)::int AS came,
            row_number() OVER (ORDER BY ended_at DESC) AS place
        FROM prediction
        WHERE account_id = :account_id AND hook_asked AND state IN ('completed', 'failed')
          AND ended_at BETWEEN now() - interval '1 day' AND now() - :in_time
        ORDER BY ended_at DESC
        LIMIT :window
    ) AS latest
""")


def measure_webhook_delivery(session: Session, account_id: UUID) -> ReportedEnds:
    """How many ends webhooks reported in time: of the last 200, or of the last 40 if the share has dropped.

    Only renders that were posted with an address are counted.
    """
    values = {"account_id": account_id, "in_time": IN_TIME, "recent": RECENT, "window": WINDOW}
    row = session.execute(_DELIVERY, values).one()
    if row.ended and row.delivered_recently / row.ended_recently < row.delivered / row.ended - CHANCE:
        return ReportedEnds(row.delivered_recently, row.ended_recently)
    return ReportedEnds(row.delivered, row.ended)


_AGREEMENT = statement("""
    SELECT count(*) FILTER (WHERE hook_outcome = state) AS agreed,
        count(*) FILTER (WHERE hook_outcome <> state) AS disagreed
    FROM (
        SELECT hook_outcome, state FROM prediction
        WHERE account_id = :account_id AND hook_outcome IS NOT NULL AND ended_at IS NOT NULL AND NOT ended_by_hook
        ORDER BY ended_at DESC NULLS LAST
        LIMIT :window
    ) AS latest
    WHERE state IN ('completed', 'failed', 'cancelled', 'timeout', 'deleted')
""")


def measure_webhook_agreement(session: Session, account_id: UUID) -> Agreement:
    """Whether webhooks were right, from the last 200 ends that a check decided and a webhook also reported."""
    found = find_one(session, _AGREEMENT, Agreement, account_id=account_id, window=WINDOW)
    return found or Agreement(0, 0)


_STATS = statement("""
    SELECT count(*) AS asked, extract(epoch FROM now() - max(hooked_at))::float8 AS last_seconds
    FROM (
        SELECT hooked_at FROM prediction
        WHERE account_id = :account_id AND hook_asked AND ended_at IS NOT NULL
        ORDER BY ended_at DESC
        LIMIT :window
    ) AS latest
""")


def find_webhook_stats(session: Session, account_id: UUID) -> WebhookStats:
    """Webhook statistics for people."""
    row = session.execute(_STATS, {"account_id": account_id, "window": WINDOW}).one()
    return WebhookStats(row.asked, measure_webhook_delivery(session, account_id).share, row.last_seconds)
