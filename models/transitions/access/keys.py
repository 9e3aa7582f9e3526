"""Tenants and keys: create, disable, revoke, and record when a key was last used."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, find_one, statement
from models.tables.access import ApiKey, Tenant
from models.tables.base import new_id


class UsedKey(NamedTuple):
    """A key that a request was made with."""

    key_id: UUID
    name: str
    tenant_id: UUID
    tenant: str
    scopes: list[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    is_disabled: bool  # its tenant is


_USE = statement("""
    WITH found AS (
        SELECT api_key.id AS key_id, api_key.name, tenant_id, tenant.name AS tenant, scopes, expires_at, revoked_at,
            disabled_at IS NOT NULL AS is_disabled, last_used_at
        FROM api_key JOIN tenant ON tenant.id = tenant_id
        WHERE sha256 = :sha256
    ), used AS (
        UPDATE api_key SET last_used_at = now() FROM found
        WHERE api_key.id = found.key_id
          AND (found.last_used_at IS NULL OR found.last_used_at < now() - interval '1 minute')
    )
    SELECT key_id, name, tenant_id, tenant, scopes, expires_at, revoked_at, is_disabled FROM found
""")


def use_key(session: Session, sha256: str) -> UsedKey | None:
    """Find a key by its SHA-256, usable or not, and record its use to the minute."""
    return find_one(session, _USE, UsedKey, sha256=sha256)


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
