"""Make the first key, on the database that the settings name."""

from typing import Any

from api.schemas.access import KeyMade
from cli.commands.audit_report import require_migrated
from models.db.session import open_sessions
from rushes.access.tenants import bootstrap_key
from rushes.runtime import open_operator_database
from rushes.settings import load_settings


def make_first_key(*, force: bool) -> dict[str, Any]:
    """Return the key as the API shows a new one. Raises as `require_migrated` does, or `Conflict`."""
    engine = open_operator_database(load_settings(), application="bootstrap")
    try:
        sessions = open_sessions(engine)
        require_migrated(sessions)
        return KeyMade.of(bootstrap_key(sessions, is_forced=force)).model_dump(mode="json")
    finally:
        engine.dispose()
