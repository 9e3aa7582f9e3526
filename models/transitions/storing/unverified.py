"""Files that fail the probe. They are kept, probed again on request, and dropped once a video is stored."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import statement
from models.lifecycle import Reason
from models.tables.artifact import ArtifactKind
from models.tables.base import new_id
from models.transitions.batches.endings import hold_batches_of, take_back_ends
from models.transitions.history import fields, log
from models.transitions.job_release import EndedAttempt
from models.transitions.storing.steps import (
    HAS_NO_VIDEO,
    NEWEST_OUTPUT,
    STORE_FROM_START,
    TO_STORE,
    NewArtifact,
    fail_job,
)

GIVE_UP_AFTER = timedelta(days=6)
"""Downloads are retried until this long after the completion. The provider deletes an output after seven days."""

WARN_BEFORE = timedelta(days=1)
"""An event warns once, this long before downloads are given up."""


_KEEP = statement("""
    INSERT INTO artifact
        (id, job_id, prediction_id, kind, url, bytes, sha256, content_type, source, message, suspect, is_duplicate)
    SELECT :id, job_id, id, :kind, :url, :bytes, :sha256, :content_type, :source, :message, :suspect,
        is_duplicate
    FROM prediction WHERE id = :prediction_id
    ON CONFLICT (prediction_id, kind) DO UPDATE
    SET url = excluded.url, bytes = excluded.bytes, sha256 = excluded.sha256, content_type = excluded.content_type,
        source = excluded.source, message = excluded.message, suspect = excluded.suspect, repeated_at = NULL,
        created_at = now(), removed_at = NULL
""")


def keep_unverified(session: Session, prediction_id: UUID, *, file: NewArtifact) -> None:
    """Record a kept file. It replaces that of an earlier attempt, which the caller removes after the commit."""
    names = ("kind", "url", "bytes", "sha256", "content_type", "source", "message", "suspect")
    values = {name: getattr(file, name) for name in names}
    session.execute(_KEEP, {"id": new_id(), "prediction_id": prediction_id, **values})


_REPEAT = statement("UPDATE artifact SET repeated_at = now() WHERE prediction_id = :prediction_id AND kind = :kind")


def note_repeated(session: Session, prediction_id: UUID) -> None:
    """Record that the kept bytes have just arrived again."""
    session.execute(_REPEAT, {"prediction_id": prediction_id, "kind": ArtifactKind.UNVERIFIED})


_EXPLAIN = statement("UPDATE artifact SET message = :message WHERE prediction_id = :prediction_id AND kind = :kind")


def explain_unverified(session: Session, prediction_id: UUID, *, message: str) -> None:
    """Record why the probe rejects the kept file now."""
    values = {"prediction_id": prediction_id, "kind": ArtifactKind.UNVERIFIED, "message": message}
    session.execute(_EXPLAIN, values)


# The lock on the prediction keeps a retry out. The second statement then sees what the job is by now.
_LOCK_KEPT = statement(f"""
    SELECT prediction.id FROM prediction JOIN job ON job.id = job_id
    WHERE job.id = ANY(CAST(:ids AS uuid[])) AND job.state IN ('failed', 'cancelled')
      -- The newest completed prediction has a kept file, and the job has no video: the store step uses that file.
      AND prediction.state = 'completed' AND {NEWEST_OUTPUT} AND {HAS_NO_VIDEO}
      AND EXISTS (
          SELECT 1 FROM artifact
          WHERE kind = 'unverified' AND prediction_id = prediction.id AND removed_at IS NULL)
    ORDER BY job.id
    FOR UPDATE OF prediction
""")


def recheck_jobs(session: Session, job_ids: Sequence[UUID], *, by: str) -> list[UUID]:
    """Move ended jobs back to storing, so that their kept files are probed again. Returns the ids in order.

    Jobs without a kept file and jobs with a video are left alone.
    """
    hold_batches_of(session, job_ids)
    kept = session.scalars(_LOCK_KEPT, {"ids": job_ids}).all()
    rechecked = _recheck(session, kept, by=by) if kept else []
    take_back_ends(session, rechecked)
    return rechecked


_RECHECK = statement(f"""
    WITH fetched AS (
        UPDATE prediction
        SET {STORE_FROM_START}, rechecks = true
        FROM job
        WHERE prediction.id = ANY(CAST(:predictions AS uuid[])) AND prediction.due_at IS NULL
          AND job.id = job_id AND job.state IN ('failed', 'cancelled')
        RETURNING prediction.id, job_id
    ), rechecked AS (
        UPDATE job
        SET state = 'storing', ended_at = NULL, cancel_requested_at = NULL, error_code = NULL, error_message = NULL
        FROM fetched WHERE job.id = fetched.job_id
        RETURNING job.id
    ), {log("'job.rechecked'", "rechecked", fields("by"), job_id="id")}
    SELECT id FROM rechecked ORDER BY id
""")


def _recheck(session: Session, predictions: Sequence[UUID], *, by: str) -> list[UUID]:
    return list(session.scalars(_RECHECK, {"predictions": predictions, "by": by}))


_WARN_DETAIL = fields(gives_up_at="ended_at + CAST(:give_up_after AS interval)", message="error_message")

_WARN = statement(f"""
    WITH near AS MATERIALIZED (
        SELECT id FROM prediction
        WHERE {TO_STORE} AND output_warned_at IS NULL AND NOT rechecks
          AND ended_at < now() - CAST(:warn_after AS interval)
          AND ended_at > now() - CAST(:give_up_after AS interval)
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    ), warned AS (
        UPDATE prediction SET output_warned_at = now() FROM near WHERE prediction.id = near.id
        RETURNING prediction.id, job_id, account_id, ended_at, error_message
    ), {log("'store.giving_up_soon'", "warned", _WARN_DETAIL)}
    SELECT 1 FROM warned
""")


def warn_of_giving_up(session: Session, *, count: int) -> int:
    """Record, once per prediction, that its downloads are given up within a day. Returns how many."""
    values = {"warn_after": GIVE_UP_AFTER - WARN_BEFORE, "give_up_after": GIVE_UP_AFTER, "count": count}
    return len(session.execute(_WARN, values).all())


# Downloads that wait for the end of an outage are not tried one by one, so this statement ends them.
_END = statement(f"""
    WITH expired AS MATERIALIZED (
        SELECT id FROM prediction
        WHERE {TO_STORE} AND begun_at IS NULL AND output_failed_at IS NOT NULL AND NOT rechecks
          AND ended_at < now() - CAST(:give_up_after AS interval)
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    )
    UPDATE prediction
    SET due_at = NULL, claim = claim + 1, error_code = CASE WHEN EXISTS (
        SELECT 1 FROM artifact WHERE artifact.prediction_id = prediction.id AND kind = 'unverified')
        THEN 'output_unverified' ELSE 'output_expired' END
    FROM expired WHERE prediction.id = expired.id
    RETURNING prediction.id AS prediction_id, job_id, is_duplicate, error_code, error_message
""")


def end_expired_downloads(session: Session, *, count: int) -> int:
    """Give up downloads that have failed until six days after completion. Their jobs fail. Returns how many."""
    expired = session.execute(_END, {"give_up_after": GIVE_UP_AFTER, "count": count}).all()
    for each in expired:
        ended = EndedAttempt(each.prediction_id, each.job_id, each.is_duplicate)
        fail_job(session, ended, Reason(each.error_code, each.error_message))
    return len(expired)
