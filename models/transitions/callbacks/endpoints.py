"""Endpoints: create, rotate, disable, enable, delete."""

from dataclasses import asdict, dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, statement
from models.queries.events.feed import find_last_id
from models.tables.base import new_id
from models.tables.callbacks.endpoint import DisabledReason, Endpoint

DISABLED_EVENT = """INSERT INTO event (kind, detail)
        SELECT 'endpoint.disabled',
            jsonb_build_object('endpoint_id', id, 'tenant_id', tenant_id, 'reason', disabled_reason)"""
"""SQL: append the event of the endpoints that a CTE has disabled; `FROM` it follows. It belongs to no job."""


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint to store."""

    tenant_id: UUID
    kinds: list[str]
    url: str = field(repr=False)
    secret: str = field(repr=False)


_LOCK_OWNER = statement("SELECT 1 FROM tenant WHERE id = :tenant_id FOR NO KEY UPDATE")
_COUNT = statement("SELECT count(*) FROM endpoint WHERE tenant_id = :tenant_id AND deleted_at IS NULL")


def insert_endpoint(session: Session, new: NewEndpoint, *, most: int) -> Endpoint | None:
    """Store an endpoint. It gets the events from now on. Returns None if its tenant has `most` of them.

    The tenant's row is locked until the transaction ends, so that two requests do not exceed the limit.
    """
    session.execute(_LOCK_OWNER, {"tenant_id": new.tenant_id})
    if session.execute(_COUNT, {"tenant_id": new.tenant_id}).scalar_one() >= most:
        return None
    values = {"id": new_id(), "after": find_last_id(session), **asdict(new)}
    return session.scalars(insert(Endpoint).values(values).returning(Endpoint)).one()


_ROTATE = statement("""
    UPDATE endpoint SET secret = :secret, old_secret = secret, old_secret_until = now() + :overlap
    WHERE id = :endpoint_id AND deleted_at IS NULL
      AND (coalesce(old_secret_until <= now(), true) OR CAST(:overlap AS interval) = interval '0')
    RETURNING 1
""")


def rotate_secret(session: Session, endpoint_id: UUID, *, secret: str, overlap: timedelta) -> bool:
    """Sign with a new secret, and with the present one too during the overlap.

    Returns False if it is deleted, or if an overlap runs and this one is not 0.
    """
    return changed_a_row(session, _ROTATE, endpoint_id=endpoint_id, secret=secret, overlap=overlap)


_DISABLE = statement(f"""
    WITH disabled AS (
        UPDATE endpoint SET disabled_at = now(), disabled_reason = '{DisabledReason.PERSON}'
        WHERE id = :endpoint_id AND disabled_at IS NULL
        RETURNING *
    ), logged AS (
        {DISABLED_EVENT} FROM disabled
    )
    SELECT 1 FROM disabled
""")


def disable_endpoint(session: Session, endpoint_id: UUID) -> bool:
    """Send nothing to it from now on. What is pending stays so. Returns False if it is disabled already."""
    return changed_a_row(session, _DISABLE, endpoint_id=endpoint_id)


_ENABLE = statement("""
    WITH enabled AS (
        UPDATE endpoint
        SET disabled_at = NULL, disabled_reason = NULL, after = :last_id, failures = 0, failing_since = NULL,
            held_until = NULL, suspect_until = NULL
        WHERE id = :endpoint_id AND disabled_at IS NOT NULL AND deleted_at IS NULL
        RETURNING id
    ), waiting AS (  -- an attempt that ends locks them before the endpoint
        SELECT delivery.id FROM delivery JOIN enabled ON enabled.id = endpoint_id
        WHERE state = 'pending' AND claimed_at IS NULL AND due_at > now() FOR UPDATE OF delivery SKIP LOCKED
    ), freed AS (
        UPDATE delivery SET due_at = now() FROM waiting WHERE delivery.id = waiting.id
    )
    SELECT 1 FROM enabled
""")


def enable_endpoint(session: Session, endpoint_id: UUID) -> bool:
    """Send to it again: what is pending, at once, and the events from now on. Returns False if it is not disabled."""
    return changed_a_row(session, _ENABLE, endpoint_id=endpoint_id, last_id=find_last_id(session))


_DELETE = statement(f"""
    UPDATE endpoint
    SET deleted_at = now(), disabled_at = coalesce(disabled_at, now()),
        disabled_reason = coalesce(disabled_reason, '{DisabledReason.PERSON}')
    WHERE id = :endpoint_id AND deleted_at IS NULL
    RETURNING 1
""")


def delete_endpoint(session: Session, endpoint_id: UUID) -> bool:
    """Send nothing to it, and show it to nobody. Its rows are removed later. Returns False if it is deleted already."""
    return changed_a_row(session, _DELETE, endpoint_id=endpoint_id)


_REMOVE = statement("""
    DELETE FROM endpoint
    WHERE deleted_at IS NOT NULL AND NOT EXISTS (SELECT FROM delivery WHERE endpoint_id = endpoint.id)
""")


def remove_deleted(session: Session) -> None:
    """Remove the rows of deleted endpoints that have no delivery any more."""
    session.execute(_REMOVE)
