"""Tenants and keys: create, disable, revoke, and record when a key was last used."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, statement
from models.tables.access import ApiKey, Tenant
from models.tables.base import new_id

_NOTE_USE = statement("""
    UPDATE api_key SET last_used_at = now() WHERE id = (
        SELECT id FROM api_key
        WHERE id = :key_id AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
        FOR UPDATE SKIP LOCKED
    )
""")


def note_use(session: Session, key_id: UUID) -> None:
    """Record the use of a key, to the minute, unless another transaction holds its row."""
    session.execute(_NOTE_USE, {"key_id": key_id})


def insert_tenant(session: Session, name: str) -> Tenant | None:
    """Create a tenant. Returns None if the name is taken, ignoring case."""
    return session.scalars(
        insert(Tenant).values(id=new_id(), name=name).on_conflict_do_nothing().returning(Tenant)
    ).first()


class NewKey(NamedTuple):
    """A key to store, without the key itself."""

    tenant_id: UUID
    name: str
    hint: str
    sha256: str
    scopes: list[str]
    expires_at: datetime | None = None


def insert_key(session: Session, new: NewKey) -> ApiKey | None:
    """Store a key. Returns None if it is stored already."""
    return session.scalars(
        insert(ApiKey).values(id=new_id(), **new._asdict()).on_conflict_do_nothing().returning(ApiKey)
    ).first()


_DISABLE = statement("UPDATE tenant SET disabled_at = now() WHERE id = :tenant_id AND disabled_at IS NULL RETURNING 1")


def disable_tenant(session: Session, tenant_id: UUID) -> bool:
    """Refuse the tenant's keys from now on. Returns False if it is disabled already."""
    return changed_a_row(session, _DISABLE, tenant_id=tenant_id)


_ENABLE = statement(
    "UPDATE tenant SET disabled_at = NULL WHERE id = :tenant_id AND disabled_at IS NOT NULL RETURNING 1"
)


def enable_tenant(session: Session, tenant_id: UUID) -> bool:
    """Accept the tenant's keys again. Returns False if it is not disabled."""
    return changed_a_row(session, _ENABLE, tenant_id=tenant_id)


_REVOKE = statement("UPDATE api_key SET revoked_at = now() WHERE id = :key_id AND revoked_at IS NULL RETURNING 1")


def revoke_key(session: Session, key_id: UUID) -> bool:
    """Refuse a key from now on. Returns False if it is revoked already."""
    return changed_a_row(session, _REVOKE, key_id=key_id)


_EXPIRE = statement("""
    UPDATE api_key SET expires_at = least(expires_at, :expires_at) WHERE id = :key_id AND revoked_at IS NULL RETURNING 1
""")


def expire_key(session: Session, key_id: UUID, *, expires_at: datetime) -> bool:
    """Let a key expire at this time, or earlier if it would. Returns False if it is revoked."""
    return changed_a_row(session, _EXPIRE, key_id=key_id, expires_at=expires_at)
