"""Remove what has ended: files first, then rows.

1. `delete_batch` marks a batch: its jobs stay ended from then on.
2. `mark_files` and `mark_batch_files` mark artifacts (`removed_at`). The API says from then on that they were removed.
3. The caller removes the marked files, then confirms them: `url` becomes null.
4. `remove_jobs` removes ended jobs without a file, with everything that belongs to them, and adds to the daily totals
   what `count_ended` has not.
5. `remove_batches` removes deleted batches without a job.

Each is one transaction, and the rows say what is left to do. A process that dies after a mark leaves a file that the
next run removes. One that dies after it has removed a file leaves a mark, and removing the file again does nothing. So
no file is left without a row, and no row claims a file that was removed without saying so.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, find_one, statement
from models.tables.prediction import UNCOUNTED
from models.transitions.history import fields, log
from models.transitions.statistics.totals import COUNTED
from models.transitions.storing.steps import TO_STORE, NewArtifact

KEPT = timedelta(days=8)
"""Rows stay at least this long after their end. The provider lists a prediction for seven days: until then, one without
a row would look unknown."""

PENDING = f"(ended_at IS NULL OR ended_at >= now() - CAST(:kept AS interval) OR {TO_STORE})"
"""Something may still come of the prediction: it is LIVE, might turn up, or is still to be stored."""

# Two counts, because the planner makes a join of NOT EXISTS, and reads whole tables for it.
REMOVABLE = f"""job.ended_at < now() - CAST(:kept AS interval)
    AND (SELECT count(*) FROM prediction WHERE job_id = job.id AND {PENDING}) = 0
    AND (SELECT count(*) FROM artifact WHERE artifact.job_id = job.id AND url IS NOT NULL) = 0"""
"""Nothing may still come of the job: it and all its predictions, duplicate purchases too, have ended more than `:kept`
ago, none is still to be stored, and none of its files is left."""

SEARCH_AGAIN = timedelta(days=1)
"""A deleted batch is searched for files again after this long: a duplicate purchase may have been stored since."""

NAME_FREE_AFTER = timedelta(hours=1)
"""A deleted batch keeps its name for at least this long. A process that was frozen while it removed the files of the
batch must not remove those of a new batch with the same name."""


class RemovedRows(NamedTuple):
    """How many rows of each kind were removed."""

    jobs: int = 0
    predictions: int = 0
    events: int = 0


_HOLD_BATCH = statement("SELECT 1 FROM batch WHERE id = :batch_id AND deleted_at IS NULL FOR NO KEY UPDATE")


def _hold_batch(session: Session, batch_id: UUID) -> bool:
    return changed_a_row(session, _HOLD_BATCH, batch_id=batch_id)


# A statement of its own: after it has waited for the lock, it must see what a retry has changed.
_DELETE_BATCH = statement(f"""
    WITH deleted AS (
        UPDATE batch SET deleted_at = now(), sealed_at = coalesce(sealed_at, now())
        WHERE id = :batch_id AND deleted_at IS NULL
          AND NOT EXISTS (SELECT 1 FROM job WHERE batch_id = batch.id AND state IN ('queued', 'rendering', 'storing'))
          AND NOT EXISTS (
              SELECT 1 FROM job WHERE batch_id = batch.id AND ended_at >= now() - CAST(:older_than AS interval))
        RETURNING id
    ), {log("'batch.deleted'", "deleted", fields("by"), batch_id="id")}
    SELECT 1 FROM deleted
""")


def delete_batch(session: Session, batch_id: UUID, *, by: str, older_than: timedelta | None = None) -> bool:
    """Mark a batch to be removed. Returns False if it has an unfinished job, or one that ended within `older_than`.

    Returns False, too, if it is marked already. No job of a marked batch can be retried.
    """
    values = {"batch_id": batch_id, "by": by, "older_than": older_than}
    return _hold_batch(session, batch_id) and changed_a_row(session, _DELETE_BATCH, **values)


_MARK = statement("""
    WITH due AS MATERIALIZED (
        SELECT artifact.id FROM artifact JOIN job ON job.id = job_id
        WHERE artifact.removed_at IS NULL AND kind <> 'unverified'
          AND artifact.created_at < now() - CAST(:older_than AS interval)
          AND job.ended_at < now() - CAST(:older_than AS interval)
        ORDER BY artifact.created_at
        LIMIT :count
        FOR UPDATE OF artifact SKIP LOCKED
    )
    UPDATE artifact SET removed_at = now() FROM due WHERE artifact.id = due.id RETURNING 1
""")


def mark_files(session: Session, *, older_than: timedelta, count: int) -> int:
    """Mark files of jobs that ended before `older_than`. Returns how many.

    Unverified files are left alone, however old: a paid output that nobody has seen is only given up by a person.
    """
    return len(session.execute(_MARK, {"older_than": older_than, "count": count}).all())


_MARK_BATCH = statement(f"""
    WITH chosen AS (
        SELECT id FROM batch
        WHERE deleted_at IS NOT NULL AND (files_removed_at IS NULL OR files_removed_at < now() - :search_again)
        ORDER BY deleted_at
        LIMIT 1
    ), due AS MATERIALIZED (  -- what is still being stored is left for later
        SELECT artifact.id FROM chosen JOIN job ON job.batch_id = chosen.id JOIN artifact ON artifact.job_id = job.id
            JOIN prediction ON prediction.id = artifact.prediction_id
        WHERE artifact.removed_at IS NULL AND job.ended_at IS NOT NULL AND NOT ({TO_STORE})
        LIMIT :count
        FOR UPDATE OF artifact SKIP LOCKED
    ), marked AS (
        UPDATE artifact SET removed_at = now() FROM due WHERE artifact.id = due.id RETURNING 1
    ), searched AS (
        UPDATE batch SET files_removed_at = now()
        FROM chosen WHERE batch.id = chosen.id AND (SELECT count(*) FROM due) < :count
    )
    SELECT count(*) FROM marked
""")


def mark_batch_files(session: Session, *, count: int) -> int:
    """Mark files of one deleted batch, unverified ones too. Returns how many."""
    return int(session.execute(_MARK_BATCH, {"search_again": SEARCH_AGAIN, "count": count}).scalar_one())


_MARK_AGAIN = statement("""
    UPDATE artifact SET url = late.url
    FROM unnest(CAST(:kinds AS text[]), CAST(:urls AS text[])) AS late (kind, url)
    WHERE prediction_id = :prediction_id AND artifact.kind = late.kind AND removed_at IS NOT NULL
    RETURNING 1
""")


def mark_late_files(session: Session, prediction_id: UUID, files: Sequence[NewArtifact]) -> int:
    """Mark files once more that a stale store step has just published again, after they were removed. Returns how
    many."""
    kinds, urls = [str(each.kind) for each in files], [each.url for each in files]
    return len(session.execute(_MARK_AGAIN, {"prediction_id": prediction_id, "kinds": kinds, "urls": urls}).all())


_CONFIRM = statement("""
    UPDATE artifact SET url = NULL WHERE id = ANY(CAST(:ids AS uuid[])) AND removed_at IS NOT NULL
""")


def confirm_removed(session: Session, ids: list[UUID]) -> None:
    """Record that these marked files are gone."""
    session.execute(_CONFIRM, {"ids": ids})


_COUNT = statement(f"""
    WITH due AS MATERIALIZED (
        SELECT id FROM prediction
        WHERE {UNCOUNTED} AND ended_at IS NOT NULL AND NOT ({TO_STORE}) AND (state <> 'completed' OR (
            SELECT count(*) FROM artifact WHERE prediction_id = prediction.id AND kind = 'video') > 0)
        LIMIT :count
        FOR NO KEY UPDATE SKIP LOCKED
    ), ended AS (
        UPDATE prediction SET counted = true FROM due WHERE prediction.id = due.id RETURNING prediction.*
    ), files AS (
        SELECT artifact.* FROM artifact JOIN due ON prediction_id = due.id
    ), {COUNTED}
    SELECT count(*) FROM ended
""")


def count_ended(session: Session, *, count: int) -> int:
    """Add predictions to the daily totals whose outcome and video can no longer change. Returns how many.

    The totals of an account then need few rows. One without a video may still get one, and is counted with its removal.
    """
    return int(session.execute(_COUNT, {"count": count}).scalar_one())


_REMOVABLE = statement(f"""
    SELECT id FROM (
        (SELECT job.id FROM job
         WHERE batch_id IS NULL AND ended_at < now() - CAST(:older_than AS interval) AND {REMOVABLE}
         ORDER BY ended_at LIMIT :count)
        UNION ALL
        (SELECT job.id FROM batch JOIN job ON batch_id = batch.id WHERE files_removed_at IS NOT NULL AND {REMOVABLE}
         LIMIT :count)
    ) AS due
    LIMIT :count
""")


def _list_removable(session: Session, *, older_than: timedelta | None, count: int) -> list[UUID]:
    values = {"older_than": older_than, "kept": KEPT, "count": count}
    return list(session.scalars(_REMOVABLE, values))


_LOCK_PREDICTIONS = statement("""
    SELECT id FROM prediction WHERE job_id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE SKIP LOCKED
""")

# After the locks, so that it sees every change made before them. A prediction that another process holds keeps its job.
_LOCK_JOBS = statement(f"""
    SELECT job.id FROM job
    WHERE job.id = ANY(CAST(:ids AS uuid[])) AND {REMOVABLE} AND NOT EXISTS (
        SELECT 1 FROM prediction WHERE job_id = job.id AND prediction.id <> ALL(CAST(:locked AS uuid[])))
    ORDER BY job.id
    FOR UPDATE OF job SKIP LOCKED
""")


def _lock_jobs(session: Session, ids: Sequence[UUID]) -> list[UUID]:
    """Lock these jobs and their predictions. Returns those that are still removable and that no other process holds."""
    locked = list(session.scalars(_LOCK_PREDICTIONS, {"ids": ids}))
    return list(session.scalars(_LOCK_JOBS, {"ids": ids, "locked": locked, "kept": KEPT}))


_REMOVE = statement(f"""
    WITH files AS (
        DELETE FROM artifact WHERE job_id = ANY(CAST(:ids AS uuid[])) RETURNING *
    ), removed AS (
        DELETE FROM prediction WHERE job_id = ANY(CAST(:ids AS uuid[])) RETURNING *
    ), history AS (
        DELETE FROM event WHERE job_id = ANY(CAST(:ids AS uuid[])) RETURNING 1
    ), explained AS (  -- a purchase that a row explained must not look unknown without the row
        DELETE FROM unknown_prediction USING removed
        WHERE unknown_prediction.account_id = removed.account_id
          AND unknown_prediction.provider_id = removed.provider_id
    ), ended AS (
        SELECT * FROM removed WHERE NOT counted
    ), {COUNTED}, gone AS (
        DELETE FROM job WHERE id = ANY(CAST(:ids AS uuid[])) RETURNING 1
    )
    SELECT (SELECT count(*) FROM gone) AS jobs, (SELECT count(*) FROM removed) AS predictions,
        (SELECT count(*) FROM history) AS events
""")


def remove_jobs(session: Session, *, older_than: timedelta | None, count: int) -> RemovedRows | None:
    """Remove jobs of deleted batches, and jobs without a batch that ended before `older_than`; at most `count`.

    A job stays as long as something may still come of it: see `REMOVABLE`. Predictions that are not counted yet add to
    the daily totals in the same transaction. A job that another process holds is left for the next call. Returns None
    if nothing was removed.
    """
    ids = _list_removable(session, older_than=older_than, count=count)
    held = _lock_jobs(session, ids) if ids else []
    return find_one(session, _REMOVE, RemovedRows, ids=held) if held else None


_REMOVE_BATCHES = statement("""
    WITH removed AS (
        DELETE FROM batch
        WHERE deleted_at < now() - :name_free_after AND NOT EXISTS (SELECT 1 FROM job WHERE batch_id = batch.id)
        RETURNING id
    ), history AS (
        DELETE FROM event USING removed WHERE batch_id = removed.id
    )
    SELECT count(*) FROM removed
""")


def remove_batches(session: Session) -> int:
    """Remove deleted batches that have no job any more. Returns how many. Their names can then be used again."""
    return int(session.execute(_REMOVE_BATCHES, {"name_free_after": NAME_FREE_AFTER}).scalar_one())
