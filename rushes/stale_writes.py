"""Stale writes are harmless, because every transition is fenced. They are a sign of frozen workers or short leases."""

from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from models import transitions
from models.db.errors import DatabaseAway
from models.db.session import transaction
from rushes.runtime import Runtime

log = structlog.get_logger(__name__)


def count_stale(runtime: Runtime, kind: str, row_id: UUID) -> None:
    """Log and count a write that changed nothing, after its transaction. Never raises: the step's outcome stands."""
    log.warning("write.stale", kind=kind, id=str(row_id))
    try:
        with transaction(runtime.sessions) as session:
            transitions.stale_writes.count_stale_write(session, kind)
    except (DatabaseAway, SQLAlchemyError):
        log.warning("write.stale_not_counted", kind=kind)
