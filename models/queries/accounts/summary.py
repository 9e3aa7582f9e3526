"""An account with its money."""

from decimal import Decimal
from typing import NamedTuple

from sqlalchemy.orm import Session

from models.db.rows import find_one, statement
from models.money import HELD, REFUNDED, SPENT, SPENT_TODAY, first_id_of_today
from models.queries.storing import OutputOutage, find_output_outage, find_store_state
from models.tables.prediction import UNCOUNTED
from models.tables.worker import NO_STORE, StoreState


class AccountSummary(NamedTuple):
    """An account's limits and money. Money is in dollars."""

    name: str
    slots: int
    effective_slots: int | None  # learned from the provider
    submits_per_minute: int
    max_spend_per_day: Decimal | None
    spent_today: Decimal  # held and spent for predictions of this day of UTC
    held: Decimal  # for predictions without an outcome
    spent: Decimal  # for predictions that ended as paid
    refunded: Decimal  # for predictions that the provider accepted and refunded
    duplicate: Decimal  # part of `spent` that was paid for duplicate purchases
    duplicates: int
    epoch: int
    stale_writes: dict[str, int]  # by kind
    check_price: float | None  # seconds of delay that each of the last requests of checks was worth
    unknown_predictions: int  # found in the last seven days: no row asked for them
    outage: OutputOutage | None = None  # current outage of the output host
    store: StoreState = NO_STORE


MONEY = """money.held, money.spent + counted.spent AS spent, money.refunded + counted.refunded AS refunded,
        money.duplicate + counted.duplicate AS duplicate, money.duplicates + counted.duplicates AS duplicates"""
PREDICTIONS = f"""LATERAL (
            SELECT coalesce(sum(price) FILTER (WHERE {HELD}), 0) AS held,
                coalesce(sum(price) FILTER (WHERE {SPENT}), 0) AS spent,
                coalesce(sum(price) FILTER (WHERE {REFUNDED}), 0) AS refunded,
                coalesce(sum(price) FILTER (WHERE is_duplicate AND {SPENT}), 0) AS duplicate,
                count(*) FILTER (WHERE is_duplicate) AS duplicates
            FROM prediction WHERE account_id = account.id AND {UNCOUNTED}
        ) AS money,
        LATERAL (
            SELECT coalesce(sum(spent), 0) AS spent, coalesce(sum(refunded), 0) AS refunded,
                coalesce(sum(duplicate), 0) AS duplicate, coalesce(sum(duplicates), 0)::bigint AS duplicates,
                coalesce(sum(files), 0)::bigint AS files, coalesce(sum(bytes), 0)::bigint AS bytes
            FROM daily_total WHERE account_id = account.id
        ) AS counted"""
"""SQL: the tables to join with the account for its money, and the columns."""

_SUMMARY = statement(f"""
    SELECT name, slots, effective_slots, submits_per_minute, max_spend_per_day, ({SPENT_TODAY}) AS spent_today,
        {MONEY}, epoch,
        (SELECT coalesce(jsonb_object_agg(kind, count), '{{}}') FROM stale_write) AS stale_writes, check_price,
        (SELECT count(*) FROM unknown_prediction WHERE account_id = account.id AND found_at > now() - interval '7 days')
            AS unknown_predictions
    FROM account, {PREDICTIONS}
    WHERE name = :name
""")


def summarise_account(session: Session, name: str) -> AccountSummary | None:
    """The account with this name."""
    summary = find_one(session, _SUMMARY, AccountSummary, name=name, today=first_id_of_today())
    if summary is None:
        return None
    return summary._replace(outage=find_output_outage(session), store=find_store_state(session))
