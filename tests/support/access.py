"""A key with every scope, in every test database, and further callers for tests of who may see what."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy.orm import Session

from models import DEFAULT_TENANT, Scope
from rushes.access.callers import act_locally
from rushes.access.keys import digest_key, hint_at, make_key
from tests.support.rows import insert, open_session

KEY = "rsh_test_0000000000000000000000000000003esaul"
KEY_NAME = "tests"
BY = f"default/{KEY_NAME}"
"""How histories name who has used this key."""
EVERYONE = act_locally("tests")


def add_test_key(url: str) -> None:
    """Store the key that every test may use."""
    with open_session(url) as session:
        _insert_key(session, KEY, Scope, tenant_id=DEFAULT_TENANT, name=KEY_NAME)
        session.commit()


def add_tenant(session: Session, name: str) -> UUID:
    """A tenant of this name."""
    return insert(session, "tenant", name=name)


def add_key(session: Session, *scopes: Scope, tenant_id: UUID = DEFAULT_TENANT, **columns: object) -> str:
    """A new key with these scopes."""
    key = make_key()
    _insert_key(session, key, scopes, tenant_id=tenant_id, **{"name": "key"} | columns)
    return key


def _insert_key(session: Session, key: str, scopes: Iterable[Scope], **columns: object) -> None:
    known = {"hint": hint_at(key), "sha256": digest_key(key), "scopes": [each.value for each in scopes]}
    insert(session, "api_key", **known | columns)


def bearing(key: str) -> dict[str, str]:
    """The header that carries a key."""
    return {"Authorization": f"Bearer {key}"}
