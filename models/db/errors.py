"""Errors between us and Postgres, distinguished by what the caller should do."""

from sqlalchemy import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class DatabaseAway(Exception):
    """Postgres cannot be reached, or is starting or stopping. Try again in a moment; nothing is sure to be stored."""


# admin_shutdown, crash_shutdown, cannot_connect_now, too_many_connections
_AWAY = ("57P01", "57P02", "57P03", "53300")


_FULL = ("too many clients", "connection slots", "too many connections", "no more connections allowed")
"""The words of Postgres and PgBouncer. Psycopg does not pass on the SQLSTATE of a refused connection."""


_UNUSABLE = ("25006", "26000", "42P05")
"""read_only (the server is no longer the primary), and a pooler that lost or mixed up prepared statements: no later
statement would succeed on such a connection."""


_LOCKED = ("55P03", "40P01")  # lock_not_available, deadlock_detected


def is_lock_failure(error: Exception) -> bool:
    """Whether a transaction got no lock: the wait was too long, or two waited for each other. It changed nothing."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) in _LOCKED


def discard_unusable(context: ExceptionContext) -> None:
    """Take a connection that is unusable out of the pool, with all others of that time."""
    if getattr(context.original_exception, "sqlstate", None) in _UNUSABLE:
        context.is_disconnect = True


def describe_failure(error: SQLAlchemyError) -> str:
    """Say that the database cannot be used, and why in the server's own words. It names no user and no password."""
    if isinstance(error, PoolTimeout):
        return "the database cannot be used: all connections of this process are busy (RUSHES_DATABASE_CONNECTIONS)"
    lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [""]
    cause = lines[0].rpartition("FATAL:")[2].strip() if "FATAL:" in lines[0] else ""
    if getattr(getattr(error, "orig", None), "sqlstate", None) == "25006":
        return "the database cannot be used: it is read-only"
    if is_full(cause):
        cause += "; raise max_connections, or lower RUSHES_DATABASE_CONNECTIONS"
    return f"the database cannot be used: {cause}" if cause else "the database cannot be reached"


def is_full(cause: object) -> bool:
    """Whether the server refused a connection because too many are open."""
    return any(words in str(cause) for words in _FULL)


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
    return state in (*_AWAY, *_UNUSABLE) or state.startswith("08")
