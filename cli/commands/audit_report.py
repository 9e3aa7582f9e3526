"""Run the audit on the database that the settings name."""

from models.db.errors import DatabaseAway
from models.db.session import Sessions, open_sessions, transaction
from models.queries.health import EXPECTED_MIGRATION
from rushes.artifacts.store import open_store
from rushes.monitoring.audit import Finding, audit_files, audit_rows
from rushes.readiness import check_readiness
from rushes.runtime import open_operator_database
from rushes.settings import load_settings
from stack.errors import CommandError


def find_everything(*, files: bool) -> list[Finding]:
    """Return every rule with its violations.

    Raises `DatabaseAway`, or `CommandError` if the database is not migrated.
    """
    settings = load_settings()
    engine = open_operator_database(settings, application="audit")
    # Commit every statement by itself: reading files takes long, and no transaction may be open meanwhile.
    sessions = open_sessions(engine.execution_options(isolation_level="AUTOCOMMIT"))
    try:
        require_migrated(sessions)
        with transaction(sessions) as session:
            findings = audit_rows(session)
            return [*findings, *audit_files(session, open_store(settings.get_artifacts_url()))] if files else findings
    finally:
        engine.dispose()


def require_migrated(sessions: Sessions) -> None:
    """Raise `DatabaseAway`, or `CommandError` if the database is not migrated."""
    seen = check_readiness(sessions)
    if not seen.reachable:
        raise DatabaseAway(seen.problem or "the database does not answer")
    if not seen.migrated:
        found = f"at {seen.migration}" if seen.migration else "empty"
        raise CommandError(
            f"the database is {found}, this version needs {EXPECTED_MIGRATION}",
            hint="run `alembic upgrade head` (`rushes up` does this itself)",
        )
