"""Tenants and their keys. The last usable key with the scope `admin` is never taken away."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy.orm import Session

from models import DEFAULT_TENANT, ApiKey, Scope, Tenant, queries, transitions
from models.db.session import Sessions, transaction
from models.transitions.access.keys import NewKey
from rushes.access.audit_log import record, recorded
from rushes.access.callers import Caller, act_locally
from rushes.access.keys import digest_key, hint_at, make_key
from rushes.errors import Conflict, InvalidInput, NotFound, Problem

TENANT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
"""A tenant's name is also the name of its folder of videos."""
KEY_NAME_LIMIT = 60


class KeyStatus(StrEnum):
    """Whether a key is accepted, or why not."""

    USABLE = "usable"
    EXPIRED = "expired"
    REVOKED = "revoked"
    DISABLED = "disabled"  # its tenant is


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key with its tenant's name. Only a new one has the key itself, and when the key that it replaces expires."""

    row: ApiKey
    tenant: str
    status: KeyStatus
    key: str | None = field(default=None, repr=False)
    old_expires_at: datetime | None = None


def list_tenants(sessions: Sessions) -> Sequence[Tenant]:
    """List all tenants, oldest first."""
    with transaction(sessions) as session:
        return queries.keys.list_tenants(session)


def create_tenant(sessions: Sessions, name: str, *, caller: Caller) -> Tenant:
    """Create a tenant. Raises `InvalidInput`, or `Conflict` if the name is taken, ignoring case."""
    if not TENANT_NAME.fullmatch(name):
        message = "must be 1 to 40 letters, digits, dots, dashes or underscores, and begin with a letter or digit"
        raise InvalidInput([Problem("name", message)])
    with transaction(sessions) as session:
        tenant = transitions.keys.insert_tenant(session, name)
        if tenant is None:
            raise Conflict(f"a tenant named {name!r} exists already; upper and lower case make no difference")
        record(session, caller, "tenant.create", tenant.name)
    return tenant


def switch_tenant(sessions: Sessions, name: str, *, is_enabled: bool, caller: Caller) -> Tenant:
    """Accept the tenant's keys, or refuse them. Its jobs go on. Raises `NotFound` or `Conflict`."""
    word = "enable" if is_enabled else "disable"
    switch = transitions.keys.enable_tenant if is_enabled else transitions.keys.disable_tenant
    with transaction(sessions) as session:
        tenant = require_tenant(session, name)
        with recorded(session, caller, f"tenant.{word}", tenant, "disabled_at"):
            if not switch(session, tenant.id):
                raise Conflict(f"tenant {tenant.name!r} is {word}d already")
            _require_admin(session)
    return tenant


def list_keys(sessions: Sessions, *, tenant: str | None = None) -> list[KeyView]:
    """List the keys of a tenant, or all, oldest first. Raises `NotFound` if there is no such tenant."""
    with transaction(sessions) as session:
        owner = require_tenant(session, tenant) if tenant is not None else None
        keys = queries.keys.list_keys(session, tenant_id=owner.id if owner else None)
        tenants = {each.id: each for each in queries.keys.list_tenants(session)}
        now = queries.health.read_clock(session)
    return [_view(each, tenants[each.tenant_id], now=now) for each in keys]


def create_key(
    sessions: Sessions,
    name: str,
    *,
    tenant: str,
    scopes: Collection[Scope],
    expires_at: datetime | None,
    caller: Caller,
) -> KeyView:
    """Make a key. Without `expires_at` it never expires. Raises `NotFound` for an unknown tenant, or `InvalidInput`."""
    if not (name.isprintable() and name.strip() and len(name) <= KEY_NAME_LIMIT):
        raise InvalidInput([Problem("name", f"must be 1 to {KEY_NAME_LIMIT} printable characters, not all blank")])
    with transaction(sessions) as session:
        owner = require_tenant(session, tenant)
        return _make(session, caller, owner, name, scopes=scopes, expires_at=expires_at)


def rotate_key(
    sessions: Sessions, key_id: UUID, *, overlap: timedelta, expires_at: datetime | None, caller: Caller
) -> KeyView:
    """Make a key with the same tenant, name and scopes. The old one expires after the overlap, if not earlier.

    Without `expires_at`, the new key lives as long as the old one was to live. Raises `NotFound`, `InvalidInput`, or
    `Conflict` if the old key is revoked or expired.
    """
    with transaction(sessions) as session:
        old, now = _require_key(session, key_id), queries.health.read_clock(session)
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
            raise Conflict(f"key {key_id} is not usable any more: make a new one instead")
        if expires_at is None and old.expires_at is not None:
            expires_at = now + (old.expires_at - old.created_at)
        with recorded(session, caller, "key.rotate", old, "expires_at"):
            transitions.keys.expire_key(session, key_id, expires_at=now + overlap)
        owner = session.get_one(Tenant, old.tenant_id)
        made = _make(session, caller, owner, old.name, scopes=old.scopes, expires_at=expires_at)
    return replace(made, old_expires_at=old.expires_at)


def revoke_key(sessions: Sessions, key_id: UUID, *, caller: Caller) -> KeyView:
    """Refuse a key from now on. Raises `NotFound` or `Conflict`."""
    with transaction(sessions) as session:
        key = _require_key(session, key_id)
        with recorded(session, caller, "key.revoke", key, "revoked_at"):
            if not transitions.keys.revoke_key(session, key_id):
                raise Conflict(f"key {key_id} is revoked already")
            _require_admin(session)
        owner, now = session.get_one(Tenant, key.tenant_id), queries.health.read_clock(session)
    return _view(key, owner, now=now)


def bootstrap_key(sessions: Sessions, *, is_forced: bool = False) -> KeyView:
    """Make a key with every scope for the tenant `default`, which is enabled if it was disabled.

    Raises `Conflict` if there is a usable key with the scope `admin`, unless forced.
    """
    caller = act_locally("bootstrap")
    with transaction(sessions) as session:
        if queries.keys.has_admin(session) and not is_forced:
            raise Conflict(
                "a usable key with the scope admin exists already\nhint: make others with `rushes key create`; if that "
                "key is lost, `rushes key bootstrap --force` makes one more"
            )
        owner = session.get_one(Tenant, DEFAULT_TENANT)
        if owner.disabled_at is not None:
            with recorded(session, caller, "tenant.enable", owner, "disabled_at"):
                transitions.keys.enable_tenant(session, owner.id)
        return _make(session, caller, owner, caller.by, scopes=[*Scope], expires_at=None)


def ensure_key(sessions: Sessions, key: str, *, name: str) -> bool:
    """Store a key with every scope for the tenant `default`, unless it is stored. Returns whether it is usable.

    Raises `Conflict` if the tenant is disabled.
    """
    with transaction(sessions) as session:
        owner = session.get_one(Tenant, DEFAULT_TENANT)
        if owner.disabled_at is not None:
            raise Conflict(
                f"the tenant {owner.name!r} is disabled, so its keys open nothing\n"
                "hint: `rushes key bootstrap --force` enables it and makes a key"
            )
        new = NewKey(owner.id, name, hint_at(key), digest_key(key), [*Scope])
        if _store(session, act_locally(name), new) is not None:
            return True
        row = queries.keys.find_used_key(session, new.sha256)
    return row is not None and row.revoked_at is None and not row.is_expired


def _make(
    session: Session,
    caller: Caller,
    owner: Tenant,
    name: str,
    *,
    scopes: Collection[str],
    expires_at: datetime | None,
) -> KeyView:
    now, key = queries.health.read_clock(session), make_key()
    if expires_at is not None and expires_at <= now:
        raise InvalidInput([Problem("expires_at", f"must be in the future; it is {now:%Y-%m-%dT%H:%M:%SZ} now")])
    known: list[str] = [each for each in Scope if each in scopes]
    row = _store(session, caller, NewKey(owner.id, name, hint_at(key), digest_key(key), known, expires_at))
    assert row is not None  # noqa: S101 - two random keys are never the same
    return replace(_view(row, owner, now=now), key=key)


def _store(session: Session, caller: Caller, new: NewKey) -> ApiKey | None:
    row = transitions.keys.insert_key(session, new)
    if row is not None:
        after = {name: value for name, value in new._asdict().items() if name != "sha256"}
        record(session, caller, "key.create" if caller.key_id else "key.bootstrap", row.id, after=after)
    return row


def _view(key: ApiKey, tenant: Tenant, *, now: datetime) -> KeyView:
    if key.revoked_at is not None:
        status = KeyStatus.REVOKED
    elif key.expires_at is not None and key.expires_at <= now:
        status = KeyStatus.EXPIRED
    else:
        status = KeyStatus.USABLE if tenant.disabled_at is None else KeyStatus.DISABLED
    return KeyView(key, tenant.name, status)


def _require_admin(session: Session) -> None:
    if not queries.keys.has_admin(session):
        raise Conflict("this would leave no usable key with the scope admin: make another one first")


def require_tenant(session: Session, name: str) -> Tenant:
    """Return the tenant with this name, ignoring case. Raises `NotFound`."""
    # An impossible name is not looked up: Postgres refuses a NUL byte even in a comparison.
    tenant = queries.keys.find_tenant(session, name) if TENANT_NAME.fullmatch(name) else None
    if tenant is None:
        raise NotFound(f"there is no tenant {name[:80]!r}")
    return tenant


def _require_key(session: Session, key_id: UUID) -> ApiKey:
    key = queries.keys.lock_key(session, key_id)
    if key is None:
        raise NotFound(f"there is no key {key_id}")
    return key
