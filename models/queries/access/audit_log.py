"""The audit log, newest entries first."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.tables.access import AuditEntry


class EntryFilter(NamedTuple):
    """What an entry must have, all of it. None does not filter."""

    key_id: UUID | None = None
    action: str | None = None  # how it begins
    target: str | None = None
    since: datetime | None = None


def list_entries(session: Session, chosen: EntryFilter, *, limit: int, before: int | None) -> Sequence[AuditEntry]:
    """Entries, newest first. `before` is the last id of the previous page."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    query = query.where(AuditEntry.id < before) if before is not None else query
    query = query.where(AuditEntry.key_id == chosen.key_id) if chosen.key_id is not None else query
    query = query.where(AuditEntry.action.startswith(chosen.action, autoescape=True)) if chosen.action else query
    query = query.where(AuditEntry.target == chosen.target) if chosen.target is not None else query
    query = query.where(AuditEntry.at >= chosen.since) if chosen.since is not None else query
    return session.scalars(query).all()
