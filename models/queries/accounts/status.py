"""The facts from which an account's status follows."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy.orm import Session

from models.db.rows import find_one, statement
from models.money import SPENT_TODAY, first_id_of_today
from models.queries.accounts.back_off import REFUSED, WAITING
from models.tables.worker import STORE_PROBLEM


class AccountFacts(NamedTuple):
    """Everything that may stop an account, at the time `now` of the database's clock."""

    now: datetime
    paused_at: datetime | None = None
    paused_reason: str | None = None
    paused_detail: str | None = None
    refused: bool = False  # the provider takes nothing, and something waits or the back-off lasts
    back_off_reason: str | None = None
    back_off_detail: str | None = None
    back_off_since: datetime | None = None  # of the first refusal in a row; if later, since when something waits
    back_off_until: datetime | None = None
    check_back_off_until: datetime | None = None
    next_search_at: datetime | None = None  # for unconfirmed submissions
    provider_failures: int = 0
    provider_failing_since: datetime | None = None
    provider_failure: str | None = None
    store_problem: str | None = None  # why no store worker can store another video
    most_today: Decimal | None = None  # the daily spending cap
    spent_today: Decimal | None = None  # null without a cap
    next_price: Decimal | None = None  # of the first queued job that the cap allows at all; null without a cap


_FACTS = statement(f"""
    SELECT now() AS now, paused_at, paused_reason, paused_detail, coalesce({REFUSED}, false) AS refused,
        back_off_reason, back_off_detail, greatest(back_off_since, waiting.since) AS back_off_since, back_off_until,
        check_back_off_until,
        CASE WHEN provider_failures > 0 THEN greatest(reconcile_until,
            (SELECT min(due_at) FROM prediction WHERE state = 'unconfirmed')) END AS next_search_at,
        provider_failures, provider_failing_since, provider_failure, {STORE_PROBLEM} AS store_problem,
        max_spend_per_day AS most_today,
        CASE WHEN max_spend_per_day IS NOT NULL THEN ({SPENT_TODAY}) END AS spent_today,
        CASE WHEN max_spend_per_day IS NOT NULL THEN (
            SELECT price FROM job WHERE state = 'queued' AND job.paused_at IS NULL AND price <= max_spend_per_day
            ORDER BY priority DESC, id LIMIT 1) END AS next_price
    FROM account LEFT JOIN {WAITING} ON true
    WHERE name = :name
""")


def find_account_facts(session: Session, name: str) -> AccountFacts | None:
    """The facts about the account with this name."""
    return find_one(session, _FACTS, AccountFacts, name=name, today=first_id_of_today())
