"""Answered requests: a key is reserved, and its answer kept, in the transaction that carries out the request."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_one, statement
from models.db.session import LOCK_TIMEOUT

KEPT = timedelta(days=14)
"""How long an answer is kept."""
TWIN_TIMEOUT = "2s"


class RequestKey(NamedTuple):
    """A request's key, which is unique within its tenant."""

    tenant_id: UUID
    key: str
    digest: str  # SHA-256 of method, path and body


class KeptAnswer(NamedTuple):
    """The answer to a request, as it is kept."""

    status: int
    body: str
    location: str | None = None


# The wait for another process's request with this key is short, because it keeps a connection. Later statements of the
# transaction wait as long as usual: RETURNING is evaluated once the row is stored.
_RESERVE = statement(f"""
    INSERT INTO idempotent_request AS earlier (tenant_id, key, digest)
    SELECT :tenant_id, :key, :digest FROM set_config('lock_timeout', '{TWIN_TIMEOUT}', true)
    ON CONFLICT (tenant_id, key) DO UPDATE SET digest = excluded.digest, created_at = now()
    WHERE earlier.created_at < now() - CAST(:kept AS interval)
    RETURNING set_config('lock_timeout', '{LOCK_TIMEOUT}', true)
""")
_EARLIER = statement("""
    SELECT digest, status, body, location FROM idempotent_request WHERE tenant_id = :tenant_id AND key = :key
""")


def reserve_key(session: Session, request: RequestKey) -> tuple[str, KeptAnswer] | None:
    """Reserve the key for this transaction. Returns digest and answer of the request that used it in the last `KEPT`.

    While another transaction holds the key, this waits for its end; then the statement fails with a lock timeout.
    """
    if session.execute(_RESERVE, {**request._asdict(), "kept": KEPT}).first() is not None:
        return None
    # The conflict has locked the row, so it is still there.
    names = {"tenant_id": request.tenant_id, "key": request.key}
    return find_one(session, _EARLIER, lambda digest, **answer: (digest, KeptAnswer(**answer)), **names)


_KEEP = statement("""
    UPDATE idempotent_request SET status = :status, body = :body, location = :location
    WHERE tenant_id = :tenant_id AND key = :key
""")


def keep_answer(session: Session, request: RequestKey, answer: KeptAnswer) -> None:
    """Keep the answer under the key that this transaction has reserved."""
    session.execute(_KEEP, {**answer._asdict(), "tenant_id": request.tenant_id, "key": request.key})


_REMOVE = statement("""
    DELETE FROM idempotent_request WHERE (tenant_id, key) IN (
        SELECT tenant_id, key FROM idempotent_request WHERE created_at < now() - CAST(:kept AS interval)
        ORDER BY created_at LIMIT :count FOR UPDATE SKIP LOCKED
    )
    RETURNING 1
""")


def remove_old(session: Session, *, count: int) -> int:
    """Remove at most `count` answers that are older than `KEPT`. Returns how many."""
    return len(session.execute(_REMOVE, {"kept": KEPT, "count": count}).all())
