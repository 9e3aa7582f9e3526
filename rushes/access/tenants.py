"""Tenants and their keys: create, list, rotate, revoke and disable."""

from models import DEFAULT_TENANT, Scope, transitions
from models.db.session import Sessions, transaction
from models.transitions.access.keys import NewKey
from rushes.access.keys import digest_key, hint_at


def ensure_key(sessions: Sessions, key: str, *, name: str) -> None:
    """Store a key with every scope for the tenant `default`, unless it is stored."""
    new = NewKey(DEFAULT_TENANT, name, hint_at(key), digest_key(key), [each.value for each in Scope])
    with transaction(sessions) as session:
        transitions.keys.insert_key(session, new)
