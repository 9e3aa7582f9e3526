"""The event feed: events in the order of their ids, up to the last one below which no event can still appear.

Transactions commit out of order: an event may become visible after others with higher ids. A `Mark` says when that is
over for all ids up to its own.
"""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_all, statement


class Mark(NamedTuple):
    """The last id that was given to an event, and a transaction that began after that."""

    last_id: int
    transaction: str


_LAST_ID = statement("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM event_id_seq")
_NEXT_TRANSACTION = statement("SELECT CAST(pg_current_xact_id() AS text)")


def find_last_id(session: Session) -> int:
    """The last id that was given to an event, committed or not; 0 if there is none."""
    return int(session.execute(_LAST_ID).scalar_one())


def make_mark(session: Session) -> Mark:
    """Mark the present end of the history. The session must commit each statement.

    Whoever appends an event has changed a row before, so its transaction is older than one that begins after the id was
    read.
    """
    last_id = find_last_id(session)
    return Mark(last_id, session.execute(_NEXT_TRANSACTION).scalar_one())


_IS_SETTLED = statement("SELECT pg_snapshot_xmin(pg_current_snapshot()) >= CAST(:transaction AS xid8)")


def is_settled(session: Session, mark: Mark) -> bool:
    """Whether every transaction that is older than the mark has ended: no event up to its id can still appear."""
    return bool(session.execute(_IS_SETTLED, {"transaction": mark.transaction}).scalar_one())


class FeedFilter(NamedTuple):
    """Which events to list. Without a tenant, those of every tenant. `kinds` are LIKE patterns."""

    tenant_id: UUID | None = None
    batch_id: UUID | None = None
    kinds: list[str] | None = None


EVERYTHING = FeedFilter()


class FeedEvent(NamedTuple):
    """An event with the job or the batch that it is about."""

    id: int
    at: datetime
    kind: str
    detail: dict[str, Any]
    tenant_id: UUID
    job_id: UUID | None  # null: it is about a batch as a whole
    prediction_id: UUID | None
    batch_id: UUID | None
    batch: str | None
    number: int | None
    client_ref: str | None
    client_metadata: dict[str, Any] | None


_SCANNED_TO = statement("""
    SELECT max(id) FROM (SELECT id FROM event WHERE id > :after AND id <= :until ORDER BY id LIMIT :most) AS scanned
""")


def find_scan_end(session: Session, *, after: int, until: int, most: int) -> int:
    """The id up to which a scan of at most `most` events comes; `until` if it reaches that."""
    return session.execute(_SCANNED_TO, {"after": after, "until": until, "most": most}).scalar_one() or until


# OFFSET 0: the planner must walk the history by its id, not collect a tenant's jobs first.
_LIST = statement("""
    SELECT event.id, at, kind, detail, coalesce(job.tenant_id, batch.tenant_id) AS tenant_id, event.job_id,
        prediction_id, batch.id AS batch_id, batch.name AS batch, number, client_ref, client_metadata
    FROM (SELECT * FROM event WHERE id > :after AND id <= :until ORDER BY id OFFSET 0) AS event
    LEFT JOIN job ON job.id = event.job_id
    LEFT JOIN batch ON batch.id = coalesce(event.batch_id, job.batch_id)
    WHERE coalesce(job.id, batch.id) IS NOT NULL
      AND (CAST(:tenant_id AS uuid) IS NULL OR coalesce(job.tenant_id, batch.tenant_id) = :tenant_id)
      AND (CAST(:batch_id AS uuid) IS NULL OR batch.id = :batch_id)
      AND (CAST(:kinds AS text[]) IS NULL OR kind LIKE ANY(CAST(:kinds AS text[])))
    ORDER BY event.id LIMIT :limit
""")


def list_feed(
    session: Session, *, after: int, until: int, limit: int, chosen: FeedFilter = EVERYTHING
) -> list[FeedEvent]:
    """Events of jobs and batches with ids above `after`, up to `until`. Those of removed jobs are left out."""
    return find_all(session, _LIST, FeedEvent, after=after, until=until, limit=limit, **chosen._asdict())
