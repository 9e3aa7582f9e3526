"""Whole databases: create one on the same server, drop it, and end every connection to it."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, NullPool, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from models.db.errors import DatabaseAway, describe_failure, is_connection_failure
from models.db.session import driver_url

CONNECT_SECONDS = 5


def create_database(url: str, *, prefix: str) -> str:
    """Create an empty database with a new name on this server and return its URL. Raises `DatabaseAway`.

    Any other error of the server raises `SQLAlchemyError`, for example if this user may not create databases.
    """
    name = f"{prefix}{uuid.uuid4().hex[:12]}"
    with _connect(url) as connection:
        connection.execute(text(f"CREATE DATABASE {_quote(connection, name)}"))
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def drop_database(url: str, *, maintenance_url: str) -> None:
    """Drop the database at `url`, even if clients are connected. `maintenance_url` is another one on its server."""
    name = make_url(url).database or ""
    with _connect(maintenance_url) as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {_quote(connection, name)} WITH (FORCE)"))


def end_connections(url: str) -> None:
    """End all other connections to this database, and to no other database of the server. Raises `DatabaseAway`."""
    with _connect(url) as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        )


@contextmanager
def _connect(url: str) -> Iterator[Connection]:
    """A separate connection that commits every statement."""
    engine = create_engine(
        driver_url(url),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": CONNECT_SECONDS},
    )
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        if is_connection_failure(error):
            raise DatabaseAway(describe_failure(error)) from error
        raise
    finally:
        engine.dispose()


def _quote(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)
