"""Read the audit log."""

from models import AuditEntry, queries
from models.db.session import Sessions, transaction
from models.queries.access.audit_log import EntryFilter
from rushes.jobs.views import Page, cut_page


def list_entries(sessions: Sessions, chosen: EntryFilter, *, limit: int, before: int | None) -> Page[AuditEntry, int]:
    """List entries, newest first."""
    with transaction(sessions) as session:
        found = queries.audit_log.list_entries(session, chosen, limit=limit + 1, before=before)
    return cut_page(found, limit=limit, key=lambda entry: entry.id)
