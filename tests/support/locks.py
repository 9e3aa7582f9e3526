"""Who waits for another's lock in the database of a test."""

from sqlalchemy import text

from models.db.session import Sessions, transaction
from tests.support.simulator_client import wait_until

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def wait_for_a_blocked_statement(sessions: Sessions) -> None:
    """Return as soon as anybody waits."""

    def is_blocked() -> bool:
        with transaction(sessions) as session:
            return bool(session.scalar(text(_WAITING)))

    wait_until(is_blocked, "a statement waits for a lock")
