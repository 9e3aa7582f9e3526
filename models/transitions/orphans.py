"""What is sure to have been bought for a job of ours, and no row tells of."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import new_id
from models.statements import statement

# Somebody else may make this row, or another purchase of the job, at the same instant: then the next pass sees it.
_RECORD = statement("""
    WITH born AS (
        INSERT INTO prediction (id, job_id, account_id, attempt, state, price, due_at, posted_at, provider_id,
            provider_created_at, accepted_at, adopted_at, ended_at)
        SELECT :id, job.id, :account_id,
            1 + (SELECT count(*) FROM prediction AS earlier WHERE earlier.job_id = job.id), 'surplus', price, now(),
            coalesce(CAST(:created_at AS timestamptz), now()), :provider_id, :created_at, now(), now(), now()
        FROM job WHERE job.id = :job_id
        ON CONFLICT DO NOTHING
        RETURNING id, job_id, account_id
    ), told AS (
        INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
        SELECT 'prediction.surplus', job_id, id, account_id, jsonb_build_object(
            'provider_id', CAST(:provider_id AS text), 'why', 'its webhook names a job that has another one') FROM born
    ), explained AS (
        DELETE FROM orphan USING born
        WHERE orphan.account_id = born.account_id AND orphan.provider_id = :provider_id
    )
    SELECT id FROM born
""")


def record_surplus(
    session: Session, account_id: UUID, job_id: UUID, *, provider_id: str, provider_created_at: datetime | None
) -> UUID | None:
    """A purchase for a job that does not wait for one gets a row: watched and stored as a surplus, its job left alone.

    Returns the row's id; None where a row knows this prediction already, or the job is gone.
    """
    values = {"account_id": account_id, "job_id": job_id, "provider_id": provider_id}
    born: UUID | None = session.execute(
        _RECORD, {"id": new_id(), "created_at": provider_created_at, **values}
    ).scalar_one_or_none()
    return born
