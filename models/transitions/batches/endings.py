"""The ends of batches. The leader records that all jobs of a batch have ended, and a retry takes it back."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import statement
from models.transitions.history import log

FIRST = UUID(int=0)
MOST_CHECKED = 1_000
"""How many batches are checked in one round. The next round goes on with those that follow."""

_CHECK = statement("""
    SELECT id, NOT EXISTS (
        SELECT FROM job WHERE batch_id = batch.id AND state IN ('queued', 'rendering', 'storing')) AS has_ended
    FROM batch WHERE sealed_at IS NOT NULL AND ended_at IS NULL AND id > :after
    ORDER BY id LIMIT :count
""")


def end_batches(session: Session, *, after: UUID = FIRST) -> UUID:
    """Record the end of sealed batches of which all jobs have ended. Returns the `after` of the next round.

    A batch that another transaction has locked is left for a later round.
    """
    found = session.execute(_CHECK, {"after": after, "count": MOST_CHECKED}).all()
    ended = [each.id for each in found if each.has_ended]
    if ended:
        _end(session, _lock(session, ended))
    return found[-1].id if len(found) == MOST_CHECKED else FIRST


_LOCK = statement("SELECT id FROM batch WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED")


def _lock(session: Session, ids: Sequence[UUID]) -> list[UUID]:
    return list(session.scalars(_LOCK, {"ids": ids}))


# A statement of its own: with the locks, it sees every retry that was committed before them.
_END = statement(f"""
    WITH done AS (
        SELECT batch.id, jobs.states, greatest(jobs.ended_at, sealed_at) AS ended_at,
            CASE WHEN job_count = CAST(jobs.states->>'cancelled' AS bigint) THEN now() END AS cancelled_at
        FROM batch, LATERAL (
            SELECT jsonb_object_agg(state, count) AS states, max(ended_at) AS ended_at FROM (
                SELECT state, count(*) AS count, max(ended_at) AS ended_at FROM job WHERE batch_id = batch.id
                GROUP BY state) AS by_state
        ) AS jobs
        WHERE batch.id = ANY(CAST(:ids AS uuid[])) AND sealed_at IS NOT NULL AND batch.ended_at IS NULL
          AND NOT coalesce(jobs.states, '{{}}') ?| ARRAY['queued', 'rendering', 'storing']
    ), ended AS (
        UPDATE batch SET ended_at = done.ended_at, cancelled_at = coalesce(batch.cancelled_at, done.cancelled_at)
        FROM done WHERE batch.id = done.id
        RETURNING batch.id, jsonb_build_object('jobs', job_count, 'states', coalesce(states, '{{}}'),
            'state', CASE WHEN batch.cancelled_at IS NULL THEN 'ended' ELSE 'cancelled' END) AS detail
    ), {log("'batch.ended'", "ended", "detail", batch_id="id")}
    SELECT 1 FROM ended
""")


def _end(session: Session, ids: Sequence[UUID]) -> None:
    session.execute(_END, {"ids": ids})


_HOLD = statement("""
    WITH held AS MATERIALIZED (
        SELECT id, deleted_at FROM batch
        WHERE id IN (SELECT batch_id FROM job WHERE id = ANY(CAST(:ids AS uuid[])))
        ORDER BY id FOR NO KEY UPDATE
    )
    SELECT job.id FROM job LEFT JOIN held ON held.id = batch_id
    WHERE job.id = ANY(CAST(:ids AS uuid[])) AND deleted_at IS NULL
""")


def hold_batches_of(session: Session, job_ids: Sequence[UUID]) -> list[UUID]:
    """The jobs whose batches are not deleted. No batch of theirs is deleted or ends before the transaction does."""
    return list(session.scalars(_HOLD, {"ids": job_ids}))


_REOPEN = statement("""
    UPDATE batch SET ended_at = NULL, cancelled_at = NULL
    WHERE id IN (SELECT batch_id FROM job WHERE id = ANY(CAST(:ids AS uuid[])))
      AND (ended_at IS NOT NULL OR cancelled_at IS NOT NULL)
""")


def take_back_ends(session: Session, job_ids: Sequence[UUID]) -> None:
    """Let the held batches of these jobs go on: a person has queued the jobs again, or has their files probed."""
    session.execute(_REOPEN, {"ids": job_ids})
