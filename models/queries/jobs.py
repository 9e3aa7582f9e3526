"""Reads for people and upstream systems."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from models.db.rows import find_all, statement
from models.lifecycle import SLOT_WINDOWS, BatchState
from models.money import HELD, SPENT
from models.tables.artifact import Artifact, ArtifactKind
from models.tables.batch import Batch
from models.tables.event import Event
from models.tables.job import Job
from models.tables.prediction import Prediction
from models.transitions.admission import OPEN_DUPLICATE


class BatchSummary(NamedTuple):
    """A batch in numbers. Money is in dollars; seconds count from push to file."""

    id: UUID
    tenant: str
    name: str
    job_count: int
    created_at: datetime
    states: dict[str, int]
    estimated: Decimal
    ended_at: datetime | None  # when its last job ended, once all have ended
    held: Decimal  # for predictions without an outcome
    spent: Decimal  # for predictions that ended as paid
    mean_seconds: float | None
    finish_by: datetime | None = None
    at_risk_at: datetime | None = None
    deleted_at: datetime | None = None
    sealed_at: datetime | None = None
    cancelled_at: datetime | None = None

    @property
    def state(self) -> BatchState:
        is_sealed, is_cancelled = self.sealed_at is not None, self.cancelled_at is not None
        return BatchState.of(is_sealed=is_sealed, is_cancelled=is_cancelled, has_ended=self.ended_at is not None)


def find_job(session: Session, job_id: UUID) -> Job | None:
    """The job with this id."""
    return session.get(Job, job_id)


def find_numbered_job(session: Session, batch_id: UUID, number: int) -> UUID | None:
    """The id of the job with this number in a batch."""
    return session.scalars(select(Job.id).where(Job.batch_id == batch_id, Job.number == number)).first()


def list_events(session: Session, job_id: UUID, *, limit: int, after: int = 0) -> Sequence[Event]:
    """A job's history, oldest first. `after` is the last id of the previous page."""
    query = select(Event).where(Event.job_id == job_id, Event.id > after).order_by(Event.id).limit(limit)
    return session.scalars(query).all()


def list_batch_events(session: Session, batch_id: UUID, *, limit: int, after: int = 0) -> Sequence[Event]:
    """The events of a batch as a whole, oldest first."""
    query = select(Event).where(Event.batch_id == batch_id, Event.id > after).order_by(Event.id).limit(limit)
    return session.scalars(query).all()


def list_predictions(session: Session, job_ids: Iterable[UUID]) -> Sequence[Prediction]:
    """All purchases of these jobs, in order."""
    query = select(Prediction).where(Prediction.job_id.in_(job_ids)).order_by(Prediction.job_id, Prediction.attempt)
    return session.scalars(query).all()


def find_open_duplicate(session: Session, job_id: UUID) -> Prediction | None:
    """The duplicate purchase of this job that may still give it a file."""
    return session.scalars(select(Prediction).where(Prediction.job_id == job_id, text(OPEN_DUPLICATE)).limit(1)).first()


def list_artifacts(session: Session, job_ids: Iterable[UUID]) -> Sequence[Artifact]:
    """All stored files of these jobs."""
    return session.scalars(select(Artifact).where(Artifact.job_id.in_(job_ids))).all()


def find_duplicate_file(session: Session, prediction_id: UUID, kind: ArtifactKind) -> Artifact | None:
    """The stored file of this kind that belongs to a duplicate purchase."""
    own = (Artifact.prediction_id == prediction_id, Artifact.kind == kind)
    query = select(Artifact).join(Prediction, Prediction.id == prediction_id).where(*own, Prediction.is_duplicate)
    return session.scalars(query).first()


def find_batch(session: Session, name_or_id: str, *, tenant_id: UUID) -> Batch | None:
    """The tenant's batch with this name, ignoring case, else any tenant's batch with this id."""
    named = (Batch.tenant_id == tenant_id, func.lower(Batch.name) == name_or_id.lower())
    if batch := session.scalars(select(Batch).where(*named)).first():
        return batch
    try:
        return session.get(Batch, UUID(name_or_id))
    except ValueError:
        return None


_TAKEN = statement("""
    SELECT lower(file_stem) FROM job
    WHERE batch_id = :batch_id AND file_stem IS NOT NULL AND lower(file_stem) = ANY(CAST(:stems AS text[]))
""")


def list_taken_stems(session: Session, batch_id: UUID, stems: Iterable[str]) -> set[str]:
    """Those of the stems, in lower case, that name the files of a job of the batch."""
    return set(session.scalars(_TAKEN, {"batch_id": batch_id, "stems": list(stems)}))


_WAITING_AT_PROVIDER = statement("""
    SELECT count(*)
    FROM (SELECT job_id, row_number() OVER (ORDER BY accepted_at, id) AS place FROM prediction
        WHERE state IN ('submitting', 'unconfirmed', 'rendering') AND watch_windows < :slot_windows) AS live
    JOIN job ON job.id = job_id
    WHERE batch_id = :batch_id AND place > (SELECT sum(least(slots, effective_slots)) FROM account)
""")


def count_waiting_at_provider(session: Session, batch_id: UUID) -> int:
    """The batch's renders submitted beyond the slots. The renders accepted first hold the slots."""
    values = {"batch_id": batch_id, "slot_windows": SLOT_WINDOWS}
    return int(session.execute(_WAITING_AT_PROVIDER, values).scalar_one())


def name_batches(session: Session, ids: Iterable[UUID]) -> dict[UUID, str]:
    """The names of these batches."""
    return {row.id: row.name for row in session.execute(select(Batch.id, Batch.name).where(Batch.id.in_(ids)))}


def list_batches(
    session: Session, *, limit: int, before: UUID | None = None, tenant_id: UUID | None = None
) -> Sequence[Batch]:
    """Batches of a tenant, or all, newest first. `before` is the last id of the previous page."""
    query = select(Batch).order_by(Batch.id.desc()).limit(limit)
    if tenant_id is not None:
        query = query.where(Batch.tenant_id == tenant_id)
    if before is not None:
        query = query.where(Batch.id < before)
    return session.scalars(query).all()


_SUMMARIES = statement(f"""
    SELECT batch.id, tenant.name AS tenant, batch.name, job_count, batch.created_at,
        coalesce(jobs.states, '{{}}') AS states, coalesce(jobs.estimated, 0) AS estimated,
        CASE WHEN sealed_at IS NOT NULL THEN coalesce(batch.ended_at, jobs.ended_at, deleted_at) END AS ended_at,
        coalesce(money.held, 0) AS held, coalesce(money.spent, 0) AS spent, jobs.mean_seconds, finish_by, at_risk_at,
        deleted_at, sealed_at, cancelled_at
    FROM batch JOIN tenant ON tenant.id = tenant_id,
        LATERAL (
            SELECT jsonb_object_agg(state, count) AS states, sum(price) AS estimated,
                CASE WHEN bool_and(ended_at IS NOT NULL) THEN max(ended_at) END AS ended_at,
                (sum(seconds) / nullif(sum(succeeded), 0))::float8 AS mean_seconds
            FROM (
                SELECT state, count(*) AS count, sum(price) AS price, max(ended_at) AS ended_at,
                    sum(extract(epoch FROM ended_at - created_at)) FILTER (WHERE state = 'succeeded') AS seconds,
                    count(*) FILTER (WHERE state = 'succeeded') AS succeeded
                FROM job WHERE batch_id = batch.id GROUP BY state
            ) AS by_state
        ) AS jobs,
        LATERAL (
            SELECT sum(prediction.price) FILTER (WHERE {HELD}) AS held,
                sum(prediction.price) FILTER (WHERE {SPENT}) AS spent
            FROM prediction JOIN job ON job.id = job_id WHERE batch_id = batch.id
        ) AS money
    WHERE batch.id = ANY(CAST(:ids AS uuid[]))
    ORDER BY batch.id DESC
""")


def summarise_batches(session: Session, ids: Sequence[UUID]) -> list[BatchSummary]:
    """The numbers of these batches, newest first."""
    return find_all(session, _SUMMARIES, BatchSummary, ids=list(ids))
