"""The audit log: an entry is written in the transaction of what it records."""

from sqlalchemy.orm import Session

from models.tables.access import AuditEntry


def insert_entry(session: Session, entry: AuditEntry) -> None:
    """Append an entry."""
    session.add(entry)
    session.flush()
