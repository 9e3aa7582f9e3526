"""Callers of the API, found by their keys."""

import contextlib
import time
from dataclasses import dataclass, field
from datetime import UTC
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from models import DEFAULT_TENANT, Scope, queries, transitions
from models.db.errors import DatabaseAway
from models.db.session import Sessions, one_statement
from models.tables.access import DEFAULT_TENANT_NAME
from rushes.access.keys import digest_key, is_well_formed
from rushes.errors import Forbidden, Unauthenticated

KEY_CACHED_SECONDS = 2.0
"""A revoked key works this much longer in a process that has just seen it."""
OUTAGE_SECONDS = 300.0
"""While the database is away, a key that this process has seen is known for this long."""
NOTED_SECONDS = 60.0
_MOST_CACHED = 10_000


@dataclass(frozen=True, slots=True)
class Need:
    """What a request needs: the scope that allows it for the key's own tenant, and those that allow it for every one.

    The own tenant's may need another one, `also`. Without any scope, every valid key will do.
    """

    own: Scope | None = None
    every: tuple[Scope, ...] = ()
    also: Scope | None = None

    def __str__(self) -> str:
        own = " and ".join(each.value for each in (self.own, self.also) if each)
        return " or ".join(filter(None, (own, *self.every))) or "any key"


PUSH = Need(Scope.PUSH)
CHANGE = Need(Scope.PUSH, (Scope.OPERATE,))
ADD_ENDPOINT = Need(Scope.PUSH, also=Scope.READ)  # who gets callbacks reads what happens
CHANGE_ENDPOINT = Need(Scope.PUSH, (Scope.OPERATE,), also=Scope.READ)
READ = Need(Scope.READ, (Scope.OBSERVE, Scope.OPERATE))
OBSERVE = Need(every=(Scope.OBSERVE, Scope.OPERATE))
OPERATE = Need(every=(Scope.OPERATE,))
ADMIN = Need(every=(Scope.ADMIN,))
ANY_KEY = Need()


@dataclass(frozen=True, slots=True)
class Caller:
    """The key that a request was made with. `by` names the caller in histories."""

    tenant_id: UUID
    tenant: str
    key_id: UUID | None
    by: str
    scopes: frozenset[Scope]
    reaches_all: bool = False  # whether this request may touch the rows of every tenant

    @property
    def reach(self) -> UUID | None:
        """The tenant whose rows this request may touch; None: every tenant's."""
        return None if self.reaches_all else self.tenant_id

    def may_see(self, tenant_id: UUID) -> bool:
        return self.reaches_all or tenant_id == self.tenant_id


@dataclass
class KeyRing:
    """Finds callers by their keys, and remembers each answer for a moment."""

    sessions: Sessions
    _known: dict[str, tuple[float, Caller | str]] = field(default_factory=dict, repr=False)  # by the keys' SHA-256
    _noted: dict[UUID, float] = field(default_factory=dict, repr=False)  # when a use was last noted, or could not be

    def recall(self, key: str, *, is_database_away: bool = False) -> Caller | None:
        """Return the caller if its key was looked up a moment ago. Raises `Unauthenticated` if it was refused."""
        known = self._known.get(digest_key(key))
        seconds = OUTAGE_SECONDS if is_database_away else KEY_CACHED_SECONDS
        if known is None or time.monotonic() - known[0] >= seconds:
            return None
        return _accept(known[1])

    def find(self, key: str) -> Caller:
        """Return the caller with this key. Raises `Unauthenticated`, which says why it is refused."""
        if not is_well_formed(key):
            raise Unauthenticated("this is not an API key of Rushes, or it has a typing error")
        sha256 = digest_key(key)
        with one_statement(self.sessions) as session:
            row = queries.keys.find_used_key(session, sha256)
        answer = "this API key does not exist" if row is None else _judge(row)
        if row is not None and not row.is_noted:
            self._note_use(row.key_id)
        if len(self._known) >= _MOST_CACHED:
            self._known.clear()
        self._known[sha256] = (time.monotonic(), answer)
        return _accept(answer)

    def _note_use(self, key_id: UUID) -> None:
        """Record the use of a key, at most once a minute. On a read-only server, requests go on without it."""
        now = time.monotonic()
        if now - self._noted.get(key_id, -NOTED_SECONDS) < NOTED_SECONDS:
            return
        self._noted[key_id] = now
        with contextlib.suppress(SQLAlchemyError, DatabaseAway), one_statement(self.sessions) as session:
            transitions.keys.note_use(session, key_id)


def require(caller: Caller, need: Need) -> bool:
    """Return whether the request may touch the rows of every tenant. Raises `Forbidden` without a scope for it."""
    if caller.scopes.intersection(need.every):
        return True
    if need == ANY_KEY or (need.own in caller.scopes and need.also in (None, *caller.scopes)):
        return False
    raise Forbidden(f"this needs a key with the scope {need}; the scopes of this key: {_list(caller.scopes)}")


def _list(scopes: frozenset[Scope]) -> str:
    return ", ".join(each.value for each in Scope if each in scopes) or "none"


def _accept(answer: Caller | str) -> Caller:
    if isinstance(answer, str):
        raise Unauthenticated(answer)
    return answer


def _judge(row: queries.keys.UsedKey) -> Caller | str:
    """Return the caller with this key, or why it is refused."""
    if row.revoked_at is not None:
        return f"this API key was revoked at {row.revoked_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    if row.expires_at is not None and row.is_expired:
        return f"this API key expired at {row.expires_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    if row.is_disabled:
        return f"tenant {row.tenant!r} is disabled"
    return Caller(row.tenant_id, row.tenant, row.key_id, f"{row.tenant}/{row.name}", frozenset(map(Scope, row.scopes)))


def act_locally(by: str) -> Caller:
    """Return a caller with every scope, for commands that work on the database itself."""
    everything = frozenset(Scope)
    return Caller(DEFAULT_TENANT, DEFAULT_TENANT_NAME, None, by, everything, reaches_all=True)
