"""Webhooks as the rows tell of them: what came in time, and whether it was true."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_one, statement

IN_TIME = timedelta(seconds=5)
"""A webhook that comes so long after we knew has still been delivered; a later one has not."""
WINDOW = 200
RECENT = 40
"""How many of the latest of those tell that deliveries have stopped."""
CHANCE = 0.1
"""A share of the recent ones that is lower by no more than this may be so by chance."""
FEWEST = 5
"""From fewer ends nobody is told a share."""

_SECRET = statement("SELECT hook_secret FROM account WHERE name = :name")

_DELIVERY = statement("""
    SELECT coalesce(sum(came), 0), count(*),
        coalesce(sum(came) FILTER (WHERE place <= :recent), 0), count(*) FILTER (WHERE place <= :recent)
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

_AGREEMENT = statement("""
    SELECT count(*) FILTER (WHERE hook_outcome = state), count(*) FILTER (WHERE hook_outcome <> state)
    FROM (
        SELECT hook_outcome, state FROM prediction
        WHERE account_id = :account_id AND hook_outcome IS NOT NULL AND ended_at IS NOT NULL AND NOT ended_by_hook
        ORDER BY ended_at DESC
        LIMIT :window
    ) AS latest
    WHERE state IN ('completed', 'failed', 'cancelled', 'timeout', 'deleted')
""")

_STATS = statement("""
    SELECT count(*), extract(epoch FROM now() - max(hooked_at))::float8
    FROM (
        SELECT hooked_at FROM prediction
        WHERE account_id = :account_id AND hook_asked AND ended_at IS NOT NULL
        ORDER BY ended_at DESC
        LIMIT :window
    ) AS latest
""")


class Delivery(NamedTuple):
    """Of how many ends that a webhook could have told it did so in time."""

    delivered: int
    ended: int

    @property
    def share(self) -> float | None:
        """From 0 to 1; None where too few have ended."""
        return self.delivered / self.ended if self.ended >= FEWEST else None

    @property
    def belief(self) -> float:
        """What to expect of the next one, above 0 and below 1: by Jeffreys' rule, a half before any has ended."""
        return (self.delivered + 0.5) / (self.ended + 1)


class Agreement(NamedTuple):
    """How often a webhook and a check told the same end of a render, among the latest that both told of."""

    agreed: int
    disagreed: int


class WebhookStats(NamedTuple):
    """How webhooks have come of late."""

    asked: int  # ends of renders that were posted with an address, at most the latest 200
    share: float | None  # told in time, 0 to 1; None where there are too few
    last_seconds: float | None  # since the last of them came; None: none did


def find_hook_secret(session: Session, name: str) -> bytes | None:
    """What the tokens of this account's webhooks are signed with; None where there is no such account."""
    secret: bytes | None = session.execute(_SECRET, {"name": name}).scalar_one_or_none()
    return secret


def measure_webhook_delivery(session: Session, account_id: UUID) -> Delivery:
    """How many ends a webhook told in time: of the last 200, or of the last 40 where it has dropped.

    The ends counted are those of renders that were posted with an address.
    """
    values = {"account_id": account_id, "in_time": IN_TIME, "recent": RECENT, "window": WINDOW}
    delivered, ended, delivered_recently, ended_recently = session.execute(_DELIVERY, values).one()
    if ended and delivered_recently / ended_recently < delivered / ended - CHANCE:
        return Delivery(delivered_recently, ended_recently)
    return Delivery(delivered, ended)


def measure_webhook_agreement(session: Session, account_id: UUID) -> Agreement:
    """Whether webhooks told the truth, by the last 200 ends that a check decided and a webhook told too."""
    found = find_one(session, _AGREEMENT, Agreement, account_id=account_id, window=WINDOW)
    return found or Agreement(0, 0)


def find_webhook_stats(session: Session, account_id: UUID) -> WebhookStats:
    """What a person wants to know of webhooks."""
    asked, last_seconds = session.execute(_STATS, {"account_id": account_id, "window": WINDOW}).one()
    return WebhookStats(asked, measure_webhook_delivery(session, account_id).share, last_seconds)
