"""Runs the migrations: against the URL that a caller hands over, else the one in the settings."""

from alembic import context
from sqlalchemy import create_engine

from models import Base
from models.db.session import driver_url, take_migration_lock
from rushes.settings import load_settings


def _find_url() -> str:
    handed_over = context.config.attributes.get("url")
    return driver_url(handed_over or load_settings().get_listen_url())


def _run() -> None:
    engine = create_engine(_find_url(), connect_args={"connect_timeout": 5})
    with engine.connect() as connection:
        take_migration_lock(connection)
        context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


_run()
