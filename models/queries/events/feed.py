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
    """Which events to follow. Without a tenant, those of every tenant.

    Kinds are names, and beginnings of names that end with `*`; without any, all kinds.
    """

    tenant_id: UUID | None = None
    batch_id: UUID | None = None
    kinds: tuple[str, ...] = ()

    @property
    def topic(self) -> UUID | None:
        """The batch or the tenant whose events these are; None: every tenant's."""
        return self.batch_id or self.tenant_id

    def has(self, kind: str) -> bool:
        return not self.kinds or any(_is_like(kind, each) for each in self.kinds)

    def as_values(self) -> dict[str, Any]:
        """Return the same for a statement, with the kinds as LIKE patterns."""
        patterns = [each.replace("_", r"\_").replace("*", "%") for each in self.kinds]
        return {**self._asdict(), "kinds": patterns or None}


def _is_like(kind: str, wanted: str) -> bool:
    return kind.startswith(wanted[:-1]) if wanted.endswith("*") else kind == wanted


EVERYTHING = FeedFilter()


class FeedEvent(NamedTuple):
    """An event with the job or the batch that it is about."""

    id: int
    at: datetime
    kind: str
    detail: dict[str, Any]
    tenant_id: UUID
    tenant: str
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


_FOUND = """
    SELECT event.id, at, kind, detail, tenant.id AS tenant_id, tenant.name AS tenant, event.job_id,
        prediction_id, batch.id AS batch_id, batch.name AS batch, number, client_ref, client_metadata
    FROM ({events}) AS event
    LEFT JOIN job ON job.id = event.job_id
    LEFT JOIN batch ON batch.id = coalesce(event.batch_id, job.batch_id)
    JOIN tenant ON tenant.id = coalesce(job.tenant_id, batch.tenant_id)
    WHERE (CAST(:tenant_id AS uuid) IS NULL OR tenant.id = :tenant_id)
      AND (CAST(:batch_id AS uuid) IS NULL OR batch.id = :batch_id)
      AND (CAST(:kinds AS text[]) IS NULL OR kind LIKE ANY(CAST(:kinds AS text[])))
    ORDER BY event.id LIMIT :limit
"""

# OFFSET 0: the planner must walk the history by its id, not collect a tenant's jobs first.
_LIST = statement(_FOUND.format(events="SELECT * FROM event WHERE id > :after AND id <= :until ORDER BY id OFFSET 0"))


def list_feed(
    session: Session, *, after: int, until: int, limit: int, chosen: FeedFilter = EVERYTHING
) -> list[FeedEvent]:
    """Events of jobs and batches with ids above `after`, up to `until`. Those of removed jobs are left out."""
    return find_all(session, _LIST, FeedEvent, after=after, until=until, limit=limit, **chosen.as_values())


_LIST_OF_BATCH = statement(
    _FOUND.format(
        events="""
    SELECT event.* FROM job JOIN event ON event.job_id = job.id
    WHERE job.batch_id = :batch_id AND event.id > :after AND event.id <= :until
    UNION ALL SELECT * FROM event WHERE batch_id = :batch_id AND id > :after AND id <= :until"""
    )
)


def list_batch_feed(session: Session, *, after: int, until: int, limit: int, chosen: FeedFilter) -> list[FeedEvent]:
    """The same for a batch, found by its jobs: cheap for a small batch, however long the history is."""
    return find_all(session, _LIST_OF_BATCH, FeedEvent, after=after, until=until, limit=limit, **chosen.as_values())


_JOB_COUNT = statement("SELECT job_count FROM batch WHERE id = :batch_id")


def count_jobs(session: Session, batch_id: UUID) -> int:
    """The jobs of a batch; 0 if there is no such batch."""
    return session.execute(_JOB_COUNT, {"batch_id": batch_id}).scalar_one_or_none() or 0


_FIRST_OF_BATCH = statement("""
    SELECT least(
        (SELECT min(id) FROM event WHERE batch_id = :batch_id),
        (SELECT min(id) FROM event WHERE job_id = (
            SELECT id FROM job WHERE batch_id = :batch_id ORDER BY number LIMIT 1)))
""")
_OLDEST_OF_TENANT = statement("""
    SELECT least((SELECT id FROM job WHERE tenant_id = :tenant_id ORDER BY id LIMIT 1),
        (SELECT id FROM batch WHERE tenant_id = :tenant_id ORDER BY id LIMIT 1))
""")
_FIRST_BEFORE = statement("""
    SELECT min(id) FROM event WHERE job_id = (SELECT id FROM job WHERE id < :place ORDER BY id DESC LIMIT 1)
""")
_MARGIN = 600_000 << 80
"""Ten minutes in ids of jobs. They are made before the events, so two pushes may have them in different orders."""


def find_first_id(session: Session, *, tenant_id: UUID | None, batch_id: UUID | None) -> int | None:
    """An id below which there is no event of a batch, else of a tenant, else of all. None if there is none at all.

    For a batch it is that of its first event. For a tenant it is the first event of another's job, ten minutes before
    its oldest job or batch.
    """
    if batch_id is not None:
        first: int | None = session.execute(_FIRST_OF_BATCH, {"batch_id": batch_id}).scalar_one()
        return first
    if tenant_id is None:
        return 1
    oldest = session.execute(_OLDEST_OF_TENANT, {"tenant_id": tenant_id}).scalar_one()
    if oldest is None:
        return None
    return session.execute(_FIRST_BEFORE, {"place": UUID(int=max(0, oldest.int - _MARGIN))}).scalar_one() or 1
