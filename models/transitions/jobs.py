"""The transitions of jobs that people and upstream systems ask for (push, cancel, pause, priority), and the risks of
batches."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from models.db.copying import copy_into
from models.db.rows import as_json, changed_a_row, statement
from models.lifecycle import JobState
from models.tables.base import new_id
from models.tables.batch import Batch
from models.tables.job import Job
from models.transitions.history import BY, append_event, change, log
from models.transitions.submitting import withdraw_submits
from models.transitions.uploads import replace_uses


class NewJob(NamedTuple):
    """A new job, already checked and priced."""

    video_model: str
    input: dict[str, Any]
    price: Decimal
    priority: int
    max_attempts: int
    client_ref: str | None = None
    client_metadata: dict[str, Any] | None = None
    file_stem: str | None = None
    uploads: Mapping[str, str] = {}  # the parameters that are uploads, with their SHA-256


class NewBatch(NamedTuple):
    """A new batch without its jobs."""

    tenant_id: UUID
    name: str
    finish_by: datetime | None = None
    digest: str | None = None
    defaults: dict[str, Any] | None = None

    def as_columns(self) -> dict[str, Any]:
        """Return the columns that are set: in a column of JSON, None would be its null."""
        return {name: value for name, value in self._asdict().items() if value is not None}


_PUSHED_BATCH = statement(f"""
    WITH {log("'job.pushed'", "job WHERE batch_id = :batch_id ORDER BY number", job_id="id")} SELECT 1
""")


def insert_batch(session: Session, new_batch: NewBatch, jobs: list[NewJob]) -> Batch | None:
    """Store a batch and all its jobs, numbered from 1 in the given order. Returns None if the name is taken."""
    born = insert(Batch).values(id=new_id(), job_count=len(jobs), **new_batch.as_columns())
    batch = session.scalars(born.on_conflict_do_nothing().returning(Batch)).first()
    if batch is None:
        return None
    ids = [new_id() for _ in jobs]
    numbered = enumerate(zip(ids, jobs, strict=True), start=1)
    rows = ((job_id, batch.tenant_id, batch.id, number, *job[:-1]) for number, (job_id, job) in numbered)
    copy_into(session, _COPY, (tuple(Jsonb(each) if isinstance(each, dict) else each for each in row) for row in rows))
    uses = [(job_id, *use) for job_id, job in zip(ids, jobs, strict=True) for use in job.uploads.items()]
    if uses:
        copy_into(session, COPY_USES, uses)
    append_event(session, "batch.pushed", {"jobs": len(jobs)}, batch_id=batch.id)
    session.execute(_PUSHED_BATCH, {"batch_id": batch.id})
    return batch


_INSERT_JOB = statement(f"""
    WITH pushed AS (
        INSERT INTO job (id, tenant_id, video_model, input, price, priority, max_attempts, client_ref, client_metadata,
            file_stem, state)
        VALUES (:id, :tenant_id, :video_model, :input, :price, :priority, :max_attempts, :client_ref, :client_metadata,
            :file_stem, :state)
        RETURNING id, due_at, created_at
    ), {log("'job.pushed'", "pushed", job_id="id")}
    SELECT due_at, created_at FROM pushed
""")


def insert_job(session: Session, new: NewJob, *, tenant_id: UUID) -> Job:
    """Store a job that belongs to no batch. Returns its row."""
    columns = {**new._asdict(), "id": new_id(), "tenant_id": tenant_id, "state": JobState.QUEUED.value}
    uploads = columns.pop("uploads")
    values = {name: as_json(value) if isinstance(value, dict) else value for name, value in columns.items()}
    due_at, created_at = session.execute(_INSERT_JOB, values).one()
    if uploads:
        replace_uses(session, columns["id"], uploads)
    return Job(**columns, due_at=due_at, created_at=created_at)


_WAIT_FOR_SAME = statement("""
    SELECT pg_advisory_xact_lock(hashtextextended(:words, 0))
""")


def find_same_job(session: Session, client_ref: str, *, tenant_id: UUID) -> Job | None:
    """Find the tenant's newest job with this `client_ref`. Others who look for it wait for this transaction's end."""
    session.execute(_WAIT_FOR_SAME, {"words": f"{tenant_id} {client_ref}"})
    same = select(Job).where(Job.client_ref == client_ref, Job.tenant_id == tenant_id)
    return session.scalars(same.order_by(Job.id.desc()).limit(1)).first()


def find_same_push(session: Session, digest: str, *, tenant_id: UUID) -> Batch | None:
    """Find the tenant's newest batch with the same jobs that is not deleted.

    Another push of them waits until this transaction has ended.
    """
    session.execute(_WAIT_FOR_SAME, {"words": f"{tenant_id} {digest}"})
    same = select(Batch).where(Batch.digest == digest, Batch.tenant_id == tenant_id, Batch.deleted_at.is_(None))
    return session.scalars(same.order_by(Batch.id.desc()).limit(1)).first()


_COPY = """
    COPY job (id, tenant_id, batch_id, number, video_model, input, price, priority, max_attempts, client_ref,
        client_metadata, file_stem) FROM STDIN
"""
COPY_USES = "COPY job_upload (job_id, parameter, sha256) FROM STDIN"


def _these(guard: str) -> str:
    """The condition that chooses those of the jobs `:ids` that meet `guard`, and locks them in the order of their ids.

    Two transactions that change the same jobs then do not wait for each other.
    """
    wanted = f"SELECT id FROM job WHERE id = ANY(CAST(:ids AS uuid[])) AND {guard} ORDER BY id FOR NO KEY UPDATE"
    return f"id IN ({wanted}) AND {guard}"


def cancel_job(session: Session, job_id: UUID, *, by: str | None = None) -> str | None:
    """Do the same as `cancel_jobs` for one job. Returns its outcome, or None if it had ended."""
    return cancel_jobs(session, [job_id], by=by).get(job_id)


def cancel_jobs(session: Session, job_ids: Sequence[UUID], *, by: str | None = None) -> dict[UUID, str]:
    """Cancel at once the jobs of which nothing was posted, and request it for the others, which are then cancelled by
    their outcomes. The history names the person (`by`).

    Returns `cancelled` or `requested` for each job, and nothing for a job that had ended. A job may move between the
    checks, so there are two rounds.
    """
    outcomes: dict[UUID, str] = {}
    for _ in range(2):
        for step in (_cancel_queued, withdraw_submits, _request_cancel):
            left = [job_id for job_id in job_ids if job_id not in outcomes]
            if left:
                outcome = "requested" if step is _request_cancel else "cancelled"
                outcomes |= dict.fromkeys(_make(session, partial(step, by=by), left), outcome)
    return outcomes


def _make(session: Session, step: Callable[[Session, list[UUID]], list[UUID]], job_ids: list[UUID]) -> list[UUID]:
    """Make one check. Keeps no lock if there was nothing to do.

    Without the rollback, a check that had to wait would keep its row locked although it changed nothing. The job would
    then be locked before its prediction.
    """
    with session.begin_nested() as savepoint:
        changed = step(session, job_ids)
        if not changed:
            savepoint.rollback()
    return changed


_CANCEL_QUEUED = change(
    "job",
    "state = 'cancelled', ended_at = now(), due_at = NULL",
    _these("state = 'queued'"),
    kind="'job.cancelled'",
    detail=BY,
    returns="id",
)


def _cancel_queued(session: Session, job_ids: Sequence[UUID], *, by: str | None) -> list[UUID]:
    return list(session.scalars(_CANCEL_QUEUED, {"ids": job_ids, "by": by}))


_REQUEST = statement(f"""
    WITH requested AS (
        UPDATE job SET cancel_requested_at = now()
        WHERE {_these("state IN ('rendering', 'storing') AND cancel_requested_at IS NULL")}
        RETURNING id
    ), {log("'job.cancel_requested'", "requested", BY, job_id="id")}
    SELECT id FROM requested
    UNION ALL
    SELECT id FROM job
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state IN ('rendering', 'storing') AND cancel_requested_at IS NOT NULL
""")


def _request_cancel(session: Session, job_ids: Sequence[UUID], *, by: str | None) -> list[UUID]:
    return list(session.scalars(_REQUEST, {"ids": job_ids, "by": by}))


_OPEN = "state IN ('queued', 'rendering', 'storing')"
_SET_PRIORITY = change(
    "job",
    "priority = :priority",
    _these(f"{_OPEN} AND priority <> :priority"),
    kind="'job.reprioritized'",
    detail=f"{BY} || jsonb_build_object('priority', priority)",
    returns="id",
)


def set_priority(session: Session, job_ids: Sequence[UUID], *, priority: int, by: str) -> list[UUID]:
    """Change the priority of the jobs that have not ended and whose priority differs. Returns their ids."""
    return list(session.scalars(_SET_PRIORITY, {"ids": job_ids, "priority": priority, "by": by}))


_PAUSE = change(
    "job", "paused_at = now()", _these(f"{_OPEN} AND paused_at IS NULL"), kind="'job.paused'", detail=BY, returns="id"
)


def pause_jobs(session: Session, job_ids: Sequence[UUID], *, by: str) -> list[UUID]:
    """Keep those jobs that have not ended from being submitted. A render in progress goes on. Returns their ids."""
    return list(session.scalars(_PAUSE, {"ids": job_ids, "by": by}))


_RESUME = change(
    "job",
    "paused_at = NULL",
    _these(f"{_OPEN} AND paused_at IS NOT NULL"),
    kind="'job.resumed'",
    detail=BY,
    returns="id",
)


def resume_jobs(session: Session, job_ids: Sequence[UUID], *, by: str) -> list[UUID]:
    """Let paused jobs be submitted again. Returns their ids."""
    return list(session.scalars(_RESUME, {"ids": job_ids, "by": by}))


_AT_RISK = change(
    "batch",
    "at_risk_at = now()",
    "id = :batch_id AND finish_by IS NOT NULL AND at_risk_at IS NULL",
    kind="'batch.at_risk'",
    detail=":forecast",
)


def note_at_risk(session: Session, batch_id: UUID, forecast: Mapping[str, Any]) -> bool:
    """Record that a batch is likely to miss its `finish_by`. Records it once, until the batch is on track again."""
    return changed_a_row(session, _AT_RISK, batch_id=batch_id, forecast=as_json(forecast))


_ON_TRACK = change(
    "batch",
    "at_risk_at = NULL",
    "id = :batch_id AND at_risk_at IS NOT NULL",
    kind="'batch.on_track'",
    detail=":forecast",
)


def note_on_track(session: Session, batch_id: UUID, forecast: Mapping[str, Any]) -> bool:
    """Record, once, that a batch that was at risk is on track again."""
    return changed_a_row(session, _ON_TRACK, batch_id=batch_id, forecast=as_json(forecast))
