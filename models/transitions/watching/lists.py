"""The provider's list as checks see it (its lag, our share of it), and the cost of checks."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, statement


def _fade(value: str, since: str) -> str:
    return f"({value}) * power(0.5, extract(epoch FROM now() - coalesce({since}, now())) / 300)"


LAG = _fade("sweep_lag_seconds", "sweep_lag_at")
OWN_SHARE = f"(1 - {_fade('1 - own_share', 'own_share_at')})"
"""SQL: the list's lag and our share of its entries. Without news, they halve their distance to no lag and
all ours every five minutes."""

_NOTE_SWEEP_LAG = statement("""
    UPDATE account SET sweep_lag_seconds = :seconds, sweep_lag_at = now()
    WHERE id = :account_id AND (sweep_lag_at IS NULL OR sweep_lag_at < now() - interval '1 second'
                                OR sweep_lag_seconds < :seconds)
    RETURNING 1
""")


def note_sweep_lag(session: Session, account_id: UUID, *, seconds: float) -> bool:
    """Record that the provider's list showed an end `seconds` late. At most one write a second, unless it is worse."""
    return changed_a_row(session, _NOTE_SWEEP_LAG, account_id=account_id, seconds=seconds)


_NOTE_LIST_FAILURE = statement(f"""
    UPDATE account
    SET sweep_lag_seconds = greatest({LAG}, least(60, greatest(5, 2 * {LAG}))), sweep_lag_at = now()
    WHERE id = :account_id AND (sweep_lag_at IS NULL OR sweep_lag_at < now() - make_interval(secs => :elapsed))
    RETURNING 1
""")


def note_list_failure(session: Session, account_id: UUID, *, elapsed: float) -> bool:
    """Only the list failed; it was requested `elapsed` seconds ago. Double its assumed lag, within 5 to 60 seconds.

    Failures of lists that were requested together count once.
    """
    return changed_a_row(session, _NOTE_LIST_FAILURE, account_id=account_id, elapsed=elapsed)


_NOTE_OWN_SHARE = statement(f"""
    UPDATE account
    SET own_share = {OWN_SHARE} + least(1, size / 100) * (share - {OWN_SHARE}), own_share_at = now()
    FROM (
        SELECT cardinality(CAST(:shown AS text[]))::float8, (
            SELECT count(*) FROM prediction
            WHERE account_id = :account_id AND provider_id = ANY(CAST(:shown AS text[]))
        ) / greatest(1, cardinality(CAST(:shown AS text[])))::float8
    ) AS page (size, share)
    WHERE id = :account_id AND size > 0 AND abs(share - {OWN_SHARE}) > :unlike
    RETURNING 1
""")


def note_own_share(session: Session, account_id: UUID, *, shown: Sequence[str], unlike: float) -> bool:
    """Update our share of a page's entries, from the provider ids that one page showed.

    A full page replaces the estimate; a shorter one counts in proportion to its size. Without news, the estimate
    returns to 1 (all ours) with a half-life of five minutes. Writes nothing if the page's share differs from the
    estimate by no more than `unlike`.
    """
    return changed_a_row(session, _NOTE_OWN_SHARE, account_id=account_id, shown=list(shown), unlike=unlike)


_OWE_REQUESTS = statement(
    "UPDATE account SET requests_owed = requests_owed + :count WHERE id = :account_id RETURNING 1"
)


def owe_requests(session: Session, account_id: UUID, *, count: int) -> bool:
    """Record that checks made `count` requests more than the leader had granted."""
    return changed_a_row(session, _OWE_REQUESTS, account_id=account_id, count=count)


_PAY_REQUESTS = statement("""
    UPDATE account SET requests_owed = greatest(0, requests_owed - :count) WHERE id = :account_id AND requests_owed > 0
    RETURNING 1
""")


def pay_requests(session: Session, account_id: UUID, *, count: int) -> bool:
    """Record that `count` of the owed requests were taken from the budget. Writes nothing if none is owed."""
    return changed_a_row(session, _PAY_REQUESTS, account_id=account_id, count=count)


_RECORD_CHECKS = statement("""
    UPDATE account
    SET check_price = CAST(:price AS float8), check_budget = CAST(:budget AS float8),
        check_requests = check_requests + :requests
    WHERE id = :account_id AND (:requests > 0 OR check_price IS DISTINCT FROM CAST(:price AS float8)
        OR check_budget IS DISTINCT FROM CAST(:budget AS float8))
    RETURNING 1
""")


def record_checks(session: Session, account_id: UUID, *, price: float, budget: float, requests: int) -> bool:
    """Record, for operators, how many seconds of delay each request of a check is worth, how many requests a second are
    allowed, and how many more were made. Writes nothing if nothing has changed."""
    values = {"account_id": account_id, "price": price, "budget": budget, "requests": requests}
    return changed_a_row(session, _RECORD_CHECKS, **values)
