"""Upgrade a database to the newest migration."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from models.db.errors import is_connection_failure
from stack.errors import CommandError, ServiceAway

ALEMBIC_INI = Path(__file__).resolve().parent.parent / "alembic.ini"


def migrate(database_url: str) -> None:
    """Upgrade to head; a database already at head stays unchanged. Raises `CommandError`."""
    if not ALEMBIC_INI.is_file():
        raise CommandError(
            f"{ALEMBIC_INI} is missing: the migrations are not part of the installed packages",
            hint="run rushes from a checkout, installed with `pip install -e .`",
        )
    config = Config(str(ALEMBIC_INI))
    config.attributes["url"] = database_url
    try:
        command.upgrade(config, "head")
    except SQLAlchemyError as error:
        place = name_place(database_url)
        words = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        if is_connection_failure(error):
            hint = "is it running, and is RUSHES_DATABASE_URL right?"
            raise ServiceAway(f"the database at {place} cannot be reached: {words}", hint=hint) from error
        raise CommandError(f"the database at {place} could not be migrated: {words}") from error


def name_place(url: str) -> str:
    """A server's address without user and password."""
    parsed = make_url(url)
    return f"{parsed.host or 'localhost'}:{parsed.port or 5432}"
