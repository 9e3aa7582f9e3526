"""Errors between us and Postgres, distinguished by what the caller should do."""

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class DatabaseAway(Exception):
    """Postgres cannot be reached, or is starting or stopping. Try again in a moment; nothing is sure to be stored."""


# admin_shutdown, crash_shutdown, cannot_connect_now, too_many_connections, read_only (a demoted primary)
_AWAY = ("57P01", "57P02", "57P03", "53300", "25006")


def is_connection_failure(error: SQLAlchemyError) -> bool:
    """Whether this error comes from the connection and not from the statement."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        return isinstance(error, OperationalError)
    return state in _AWAY or state.startswith("08")
