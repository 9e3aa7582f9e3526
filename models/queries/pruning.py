"""What is due to be removed, and what is kept although it is old."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_all, find_one, statement
from models.transitions.pruning import KEPT, PENDING

_HAS_UNVERIFIED = """SELECT job.batch_id FROM artifact JOIN job ON job.id = artifact.job_id
    WHERE kind = 'unverified' AND removed_at IS NULL AND job.batch_id IS NOT NULL"""

_OLD_BATCH = """batch.deleted_at IS NULL AND batch.created_at < now() - CAST(:older_than AS interval)
    AND NOT EXISTS (SELECT 1 FROM job WHERE batch_id = batch.id AND state IN ('queued', 'rendering', 'storing'))
    AND NOT EXISTS (
        SELECT 1 FROM job WHERE batch_id = batch.id AND ended_at >= now() - CAST(:older_than AS interval))"""


class MarkedFile(NamedTuple):
    """A file to remove."""

    artifact_id: UUID
    url: str


class Prunable(NamedTuple):
    """What a run of `rushes prune` would remove, and what it would leave."""

    jobs: int
    batches: int
    files: int
    bytes: int
    unverified: int  # old unverified files: a recheck, a retry or the deletion of their batch decides
    waiting: int  # old jobs with a purchase of which something may still come


_OLD_BATCHES = statement(f"SELECT id FROM batch WHERE {_OLD_BATCH} AND id NOT IN ({_HAS_UNVERIFIED}) LIMIT :count")


def list_old_batches(session: Session, *, older_than: timedelta, count: int) -> list[UUID]:
    """Batches whose last job ended before `older_than`, without an unverified file."""
    return list(session.scalars(_OLD_BATCHES, {"older_than": older_than, "count": count}))


_MARKED = statement("""
    SELECT id AS artifact_id, url FROM artifact
    WHERE removed_at IS NOT NULL AND url IS NOT NULL AND (CAST(:after AS uuid) IS NULL OR id > :after)
    ORDER BY id
    LIMIT :count
""")


def list_marked_files(session: Session, *, count: int, after: UUID | None = None) -> list[MarkedFile]:
    """Files to remove, in the order of their ids. `after` is the last id of the previous call."""
    return find_all(session, _MARKED, MarkedFile, count=count, after=after)


_PRUNABLE = statement(f"""
    WITH old_batch AS MATERIALIZED (SELECT id, id IN ({_HAS_UNVERIFIED}) AS is_kept FROM batch WHERE {_OLD_BATCH}),
    old AS MATERIALIZED (
        SELECT job.id, job.batch_id, coalesce(is_kept, false) AS is_kept,
            EXISTS (SELECT 1 FROM prediction WHERE job_id = job.id AND {PENDING}) AS waits
        FROM job LEFT JOIN old_batch ON old_batch.id = batch_id
        WHERE job.ended_at < now() - CAST(:older_than AS interval) AND (batch_id IS NULL OR old_batch.id IS NOT NULL)
    ), file AS MATERIALIZED (
        SELECT old.id AS job_id, old.batch_id, kind, bytes FROM old JOIN artifact ON artifact.job_id = old.id
        WHERE url IS NOT NULL
    )
    SELECT count(*) FILTER (WHERE NOT is_kept AND NOT waits
            AND id NOT IN (SELECT job_id FROM file WHERE kind = 'unverified')) AS jobs,
        (SELECT count(*) FROM old_batch WHERE NOT is_kept) AS batches,
        (SELECT count(*) FROM file WHERE kind <> 'unverified') AS files,
        (SELECT coalesce(sum(bytes), 0)::bigint FROM file WHERE kind <> 'unverified') AS bytes,
        (SELECT count(*) FROM file WHERE kind = 'unverified') AS unverified,
        count(*) FILTER (WHERE waits) AS waiting
    FROM old
""")


def count_prunable(session: Session, *, older_than: timedelta) -> Prunable:
    """What is older than this. Reads every old job: run it for people, not in a loop."""
    found = find_one(session, _PRUNABLE, Prunable, older_than=older_than, kept=KEPT)
    assert found is not None  # noqa: S101 - an aggregate has a row
    return found
