"""What metrics show that no other read does: totals of the account, latencies, stale writes, and open transactions."""

from decimal import Decimal
from typing import NamedTuple

from sqlalchemy.orm import Session

from models.db.rows import find_all, find_one, statement
from models.queries.accounts.summary import MONEY, PREDICTIONS


class Totals(NamedTuple):
    """An account's money in dollars, its stored files, and the requests of its checks."""

    held: Decimal
    spent: Decimal
    refunded: Decimal
    duplicate: Decimal  # part of `spent`
    duplicates: int
    files: int  # of counted predictions; removed files too
    bytes: int
    check_requests: int
    check_budget: float | None  # requests a second; null before a dispatcher has led
    check_price: float | None  # seconds of delay that a request is worth; null likewise
    requests_owed: int


class Bucket(NamedTuple):
    """How many predictions took at most `at_most` seconds, but more than the next lower bound."""

    kind: str
    at_most: float
    predictions: int
    seconds: float  # in all


_TOTALS = statement(f"""
    SELECT {MONEY}, counted.files, counted.bytes, check_requests, check_budget, check_price, requests_owed
    FROM account, {PREDICTIONS}
    WHERE name = :name
""")


def find_totals(session: Session, name: str) -> Totals | None:
    """The totals of the account with this name, over all time."""
    return find_one(session, _TOTALS, Totals, name=name)


_BUCKETS = statement("SELECT kind, at_most, predictions, seconds FROM latency_bucket ORDER BY kind, at_most")


def list_latencies(session: Session) -> list[Bucket]:
    """The latencies of counted predictions. Empty buckets may be missing."""
    return find_all(session, _BUCKETS, Bucket)


_STALE = statement("SELECT kind, count FROM stale_write ORDER BY kind")


def count_stale_writes(session: Session) -> dict[str, int]:
    """Writes that changed nothing because they came too late, by kind."""
    return {row["kind"]: row["count"] for row in session.execute(_STALE).mappings()}


class CallbackCounts(NamedTuple):
    """Deliveries that wait, and endpoints by whether they get any."""

    pending: int
    oldest_due_seconds: float  # since when the most overdue of them should have been sent; 0: none is overdue
    working: int
    failing: int
    disabled: int


_CALLBACKS = statement("""
    SELECT coalesce(sum(pending), 0)::bigint AS pending,
        greatest(0, coalesce(max(due_seconds) FILTER (WHERE disabled_at IS NULL AND failures = 0
            AND tenant_id IN (SELECT id FROM tenant WHERE disabled_at IS NULL)), 0))::float8 AS oldest_due_seconds,
        count(*) FILTER (WHERE disabled_at IS NULL AND failures = 0) AS working,
        count(*) FILTER (WHERE disabled_at IS NULL AND failures > 0) AS failing,
        count(*) FILTER (WHERE disabled_at IS NOT NULL) AS disabled
    FROM endpoint LEFT JOIN LATERAL (
        SELECT count(*) AS pending, extract(epoch FROM now() - min(due_at)) AS due_seconds
        FROM delivery WHERE endpoint_id = endpoint.id AND state = 'pending') AS waiting ON true
    WHERE deleted_at IS NULL
""")


def count_callbacks(session: Session) -> CallbackCounts:
    """How callbacks do, over all tenants."""
    return CallbackCounts(**session.execute(_CALLBACKS).one()._mapping)


_OLDEST = statement("""
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
""")


def measure_oldest_transaction(session: Session) -> float:
    """Seconds for which another session of the server has had its transaction open, at most; 0 if none has.

    Sessions of other users count only if ours has the privileges of `pg_read_all_stats`.
    """
    return float(session.execute(_OLDEST).scalar_one())
