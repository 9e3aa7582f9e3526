"""Runs the migrations: against the URL that a caller hands over, else the one in the settings."""

from alembic import context
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from models import Base
from models.db.errors import is_lock_failure
from models.db.session import driver_url, take_migration_lock
from rushes.settings import load_settings

LOCK_TIMEOUT = "5s"
"""A migration that waits for a table's lock makes every later statement wait, so it steps aside and tries again."""
LOCK_TRIES = 20


def _find_url() -> str:
    handed_over = context.config.attributes.get("url")
    return driver_url(handed_over or load_settings().get_listen_url())


def _run() -> None:
    engine = create_engine(_find_url(), connect_args={"connect_timeout": 5})
    with engine.connect() as connection:
        # The role may have limits, which are meant for short statements.
        connection.execute(text("SET statement_timeout = 0; SET lock_timeout = 0"))
        take_migration_lock(connection)
        connection.execute(text(f"SET lock_timeout = '{context.config.attributes.get('lock_timeout', LOCK_TIMEOUT)}'"))
        connection.commit()
        for left in reversed(range(LOCK_TRIES)):
            try:
                _migrate(connection)
                break
            except SQLAlchemyError as error:
                if not left or not is_lock_failure(error):
                    raise
                connection.rollback()
    engine.dispose()


def _migrate(connection: Connection) -> None:
    """Run each migration that is missing in a transaction of its own."""
    context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


_run()
