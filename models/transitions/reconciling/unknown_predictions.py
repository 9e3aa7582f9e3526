"""A prediction that was certainly bought for a job of ours, but has no row."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, statement
from models.tables.base import new_id
from models.transitions.history import fields, log

# Another process may create this row, or another purchase of the job, at the same instant. The next run then sees it.
_RECORD = statement(f"""
    WITH born AS (
        INSERT INTO prediction (id, job_id, account_id, attempt, state, is_duplicate, price, due_at, posted_at,
            provider_id, provider_created_at, accepted_at, adopted_at, early_check_at)
        SELECT :id, job.id, :account_id,
            1 + (SELECT count(*) FROM prediction AS earlier WHERE earlier.job_id = job.id), 'rendering', true, price,
            now() + :watch_window, coalesce(CAST(:created_at AS timestamptz), now()), :provider_id, :created_at,
            now(), now(), now()
        FROM job WHERE job.id = :job_id
        ON CONFLICT DO NOTHING
        RETURNING id, job_id, account_id
    ), {log("'prediction.duplicate'", "born", fields("provider_id", "why"))}, explained AS (  -- it has a row now
        DELETE FROM unknown_prediction USING born
        WHERE unknown_prediction.account_id = born.account_id AND unknown_prediction.provider_id = :provider_id
    )
    SELECT id FROM born
""")

_WHY = "its webhook names a job that has another one"


def record_duplicate(
    session: Session,
    account_id: UUID,
    job_id: UUID,
    *,
    provider_id: str,
    provider_created_at: datetime | None,
    watch_window: timedelta,
) -> UUID | None:
    """Give a row to a purchase for a job that does not wait for one. It is watched and stored as a duplicate purchase;
    its job is left alone.

    Returns the row's id. Returns None and writes nothing if a row already has this prediction, if the job is gone, or
    if the job is yet to be bought and so can have this purchase instead.
    """
    values = {"account_id": account_id, "job_id": job_id, "provider_id": provider_id, "watch_window": watch_window}
    with session.begin_nested() as savepoint:
        born: UUID | None = session.execute(
            _RECORD, {"id": new_id(), "created_at": provider_created_at, "why": _WHY, **values}
        ).scalar_one_or_none()
        if born is not None and not is_unwanted(session, job_id):
            savepoint.rollback()
            return None
    return born


# Runs after the INSERT, because predictions are locked before jobs. The lock prevents changes to the job.
_UNWANTED = statement("""
    SELECT 1 FROM job
    WHERE id = :job_id AND NOT (state = 'queued' AND cancel_requested_at IS NULL)
      AND NOT EXISTS (
          SELECT 1 FROM prediction
          WHERE job_id = job.id AND prediction.state = 'submitting' AND posted_at IS NULL)
    FOR NO KEY UPDATE
""")


def is_unwanted(session: Session, job_id: UUID) -> bool:
    """Whether the job needs no purchase. If so, it stays as it is until the end of the transaction."""
    return changed_a_row(session, _UNWANTED, job_id=job_id)
