"""Tenants, their keys, and the owners of rows."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from models.db.rows import find_one, statement
from models.tables.access import DEFAULT_TENANT_NAME, ApiKey, Scope, Tenant
from models.tables.action import Action
from models.tables.base import DEFAULT_TENANT
from models.tables.batch import Batch
from models.tables.job import Job
from models.tables.prediction import Prediction

EVERY_TENANT = UUID(int=0)
"""Stands for the owner of an action that reaches every tenant: only callers that do so may see it."""


class UsedKey(NamedTuple):
    """A key that a request was made with. The clock of the database tells whether it has expired."""

    key_id: UUID
    name: str
    tenant_id: UUID
    tenant: str
    scopes: list[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    is_expired: bool
    is_disabled: bool  # its tenant is
    is_noted: bool  # its use in this minute


_USED = statement("""
    SELECT api_key.id AS key_id, api_key.name, tenant_id, tenant.name AS tenant, scopes, expires_at, revoked_at,
        coalesce(expires_at <= now(), false) AS is_expired, disabled_at IS NOT NULL AS is_disabled,
        coalesce(last_used_at >= now() - interval '1 minute', false) AS is_noted
    FROM api_key JOIN tenant ON tenant.id = tenant_id
    WHERE sha256 = :sha256
""")


def find_used_key(session: Session, sha256: str) -> UsedKey | None:
    """Find a key by its SHA-256, usable or not. Writes nothing, so it works on a read-only server."""
    return find_one(session, _USED, UsedKey, sha256=sha256)


_STILL_USABLE = statement("""
    SELECT api_key.id FROM api_key JOIN tenant ON tenant.id = tenant_id
    WHERE api_key.id = ANY(CAST(:ids AS uuid[])) AND revoked_at IS NULL AND disabled_at IS NULL
      AND (expires_at IS NULL OR expires_at > now())
""")


def list_usable(session: Session, ids: Collection[UUID]) -> set[UUID]:
    """Those of these keys that are accepted."""
    return set(session.scalars(_STILL_USABLE, {"ids": [*ids]}))


def list_tenants(session: Session) -> Sequence[Tenant]:
    """All tenants, oldest first."""
    return session.scalars(select(Tenant).order_by(Tenant.id)).all()


def find_tenant(session: Session, name: str) -> Tenant | None:
    """The tenant with this name, ignoring case."""
    return session.scalars(select(Tenant).where(func.lower(Tenant.name) == name.lower())).first()


def name_tenants(session: Session, ids: Collection[UUID]) -> dict[UUID, str]:
    """The names of these tenants. That of the default tenant costs no statement."""
    names = {DEFAULT_TENANT: DEFAULT_TENANT_NAME}
    if others := [each for each in ids if each != DEFAULT_TENANT]:
        query = select(Tenant.id, Tenant.name).where(Tenant.id.in_(others))
        names |= {row.id: row.name for row in session.execute(query)}
    return names


def list_keys(session: Session, *, tenant_id: UUID | None = None) -> Sequence[ApiKey]:
    """The keys of a tenant, or all, oldest first, also those that are revoked or expired."""
    query = select(ApiKey).order_by(ApiKey.id)
    return session.scalars(query if tenant_id is None else query.where(ApiKey.tenant_id == tenant_id)).all()


def lock_key(session: Session, key_id: UUID) -> ApiKey | None:
    """The key with this id, usable or not. Its row is locked until the transaction ends."""
    return session.get(ApiKey, key_id, with_for_update=True)


def has_admin(session: Session) -> bool:
    """Whether a usable key has the scope `admin`.

    One transaction at a time asks, until it ends, so that no two of them each remove the other's last key.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('rushes.admins'))"))
    usable = (ApiKey.revoked_at.is_(None), (ApiKey.expires_at.is_(None)) | (ApiKey.expires_at > func.now()))
    enabled = select(Tenant.id).where(Tenant.disabled_at.is_(None))
    chosen = ApiKey.scopes.contains([Scope.ADMIN.value]), ApiKey.tenant_id.in_(enabled)
    return session.scalars(select(ApiKey.id).where(*usable, *chosen).limit(1)).first() is not None


def find_owner(session: Session, table: type[Job | Batch | Action], row_id: UUID) -> UUID | None:
    """The tenant of this row, or `EVERY_TENANT`; None if there is no such row."""
    owner = func.coalesce(table.tenant_id, EVERY_TENANT)
    return session.scalars(select(owner).where(table.id == row_id)).first()


def find_prediction_owner(session: Session, prediction_id: UUID) -> UUID | None:
    """The tenant whose job this prediction was made for; None if there is no such prediction."""
    query = select(Job.tenant_id).join(Prediction, Prediction.job_id == Job.id).where(Prediction.id == prediction_id)
    return session.scalars(query).first()
