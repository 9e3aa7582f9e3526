"""What checks show of the provider's list (its lag, the share of ours) and what they cost."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, statement

_NOTE_SWEEP_LAG = statement("""
    UPDATE account SET sweep_lag_seconds = :seconds, sweep_lag_at = now()
    WHERE id = :account_id AND (sweep_lag_at IS NULL OR sweep_lag_at < now() - interval '1 second'
                                OR sweep_lag_seconds < :seconds)
    RETURNING 1
""")


_NOTE_LIST_FAILURE = statement("""
    UPDATE account
    SET sweep_lag_seconds = greatest(believed, least(60, greatest(5, 2 * believed))), sweep_lag_at = now()
    FROM (
        SELECT sweep_lag_seconds * power(0.5, extract(epoch FROM now() - coalesce(sweep_lag_at, now())) / 300)
        FROM account WHERE id = :account_id
    ) AS lag (believed)
    WHERE id = :account_id AND (sweep_lag_at IS NULL OR sweep_lag_at < now() - make_interval(secs => :elapsed))
    RETURNING 1
""")


_BELIEVED = "(1 - (1 - own_share) * power(0.5, extract(epoch FROM now() - coalesce(own_share_at, now())) / 300))"


_OWN_SHARE = """
    UPDATE account
    SET own_share = {believed} + least(1, size / 100) * (share - {believed}), own_share_at = now()
    FROM (
        SELECT cardinality(CAST(:shown AS text[]))::float8, (
            SELECT count(*) FROM prediction
            WHERE account_id = :account_id AND provider_id = ANY(CAST(:shown AS text[]))
        ) / greatest(1, cardinality(CAST(:shown AS text[])))::float8
    ) AS page (size, share)
    WHERE id = :account_id AND size > 0 AND abs(share - {believed}) > :unlike
    RETURNING 1
"""


_NOTE_OWN_SHARE = statement(_OWN_SHARE.format(believed=_BELIEVED))


_OWE_REQUESTS = statement(
    "UPDATE account SET requests_owed = requests_owed + :count WHERE id = :account_id RETURNING 1"
)


_PAY_REQUESTS = statement("""
    UPDATE account SET requests_owed = greatest(0, requests_owed - :count) WHERE id = :account_id AND requests_owed > 0
    RETURNING 1
""")


_SET_CHECK_PRICE = statement("""
    UPDATE account SET check_price = CAST(:price AS float8)
    WHERE id = :account_id AND check_price IS DISTINCT FROM CAST(:price AS float8)
    RETURNING 1
""")


def note_sweep_lag(session: Session, account_id: UUID, *, seconds: float) -> bool:
    """Remember that the provider's list showed an end so late; at most one write a second, unless it is worse."""
    return changed_a_row(session, _NOTE_SWEEP_LAG, account_id=account_id, seconds=seconds)


def note_list_failure(session: Session, account_id: UUID, *, elapsed: float) -> bool:
    """The list alone failed, asked `elapsed` seconds ago: believe it to be late by twice as much, by 5 to 60 seconds.

    Failures of lists that were asked for together are one.
    """
    return changed_a_row(session, _NOTE_LIST_FAILURE, account_id=account_id, elapsed=elapsed)


def note_own_share(session: Session, account_id: UUID, *, shown: Sequence[str], unlike: float) -> bool:
    """Remember how much of what pages show is ours, by the provider ids that one showed.

    A full page is believed, a short one as far as it is full. Writes nothing where that differs by no more than
    `unlike` from what is believed: without news that all is ours, with a half-life of five minutes.
    """
    return changed_a_row(session, _NOTE_OWN_SHARE, account_id=account_id, shown=list(shown), unlike=unlike)


def owe_requests(session: Session, account_id: UUID, *, count: int) -> bool:
    """So many requests were made to watch, beyond those that the leader had granted."""
    return changed_a_row(session, _OWE_REQUESTS, account_id=account_id, count=count)


def pay_requests(session: Session, account_id: UUID, *, count: int) -> bool:
    """So many of them were taken from the budget. Writes nothing where none is owed."""
    return changed_a_row(session, _PAY_REQUESTS, account_id=account_id, count=count)


def set_check_price(session: Session, account_id: UUID, *, price: float) -> bool:
    """Tell operators what the requests that watch are worth, each, in seconds of delay."""
    return changed_a_row(session, _SET_CHECK_PRICE, account_id=account_id, price=price)
