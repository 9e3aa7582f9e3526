"""Open batches: jobs are added until the batch is sealed or cancelled.

Whoever adds jobs locks the batch's row first, so that two requests number their jobs one after the other, and none
adds a job to a batch that was closed.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import count
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from models.db.copying import copy_into
from models.db.rows import changed_a_row, find_one, statement
from models.tables.base import new_id
from models.tables.batch import Batch
from models.transitions.history import BY, append_event, change, log
from models.transitions.jobs import COPY_USES, NewBatch
from models.transitions.uploads import UploadUse


def open_batch(session: Session, new_batch: NewBatch) -> Batch | None:
    """Store a batch that takes jobs until it is sealed. Returns None if the name is taken."""
    born = insert(Batch).values(id=new_id(), job_count=0, sealed_at=None, **new_batch.as_columns())
    batch = session.scalars(born.on_conflict_do_nothing().returning(Batch)).first()
    if batch is not None:
        append_event(session, "batch.opened", {}, batch_id=batch.id)
    return batch


class HeldBatch(NamedTuple):
    """A batch whose row this transaction has locked."""

    id: UUID
    tenant_id: UUID
    name: str
    job_count: int
    sealed_at: datetime | None
    cancelled_at: datetime | None
    deleted_at: datetime | None


_HOLD = statement("""
    SELECT id, tenant_id, name, job_count, sealed_at, cancelled_at, deleted_at FROM batch WHERE id = :batch_id
    FOR NO KEY UPDATE
""")


def hold_batch(session: Session, batch_id: UUID) -> HeldBatch | None:
    """Lock a batch, so that nobody else adds jobs, seals it, cancels it or deletes it before the transaction ends."""
    return find_one(session, _HOLD, HeldBatch, batch_id=batch_id)


_COPY = """
    COPY job (id, tenant_id, batch_id, number, file_stem, video_model, input, price, priority, max_attempts, client_ref,
        client_metadata) FROM STDIN
"""
_PUSHED_JOBS = statement(f"""
    WITH grown AS (
        UPDATE batch SET job_count = job_count + :added WHERE id = :batch_id RETURNING id, job_count
    ), {log("'job.pushed'", "job WHERE batch_id = :batch_id AND number > :before ORDER BY number", job_id="id")}
    SELECT job_count FROM grown
""")


def add_jobs(
    session: Session, held: HeldBatch, rows: Iterable[bytes], *, stems: Sequence[str | None], uses: Iterable[UploadUse]
) -> int:
    """Add jobs to a held batch, numbered from its last job on. Returns how many jobs it has then.

    Each of the rows is the text that COPY takes for the columns from `video_model` on, with its line break.
    """
    ids: list[UUID] = []

    def complete() -> Iterator[bytes]:
        for number, stem, row in zip(count(held.job_count + 1), stems, rows):
            ids.append(new_id())
            yield f"{ids[-1]}\t{held.tenant_id}\t{held.id}\t{number}\t{stem or NULL}\t".encode() + row

    copy_into(session, _COPY, complete())
    copy_into(session, COPY_USES, (f"{ids[use.place]}\t{use.parameter}\t{use.sha256}\n".encode() for use in uses))
    values = {"batch_id": held.id, "before": held.job_count, "added": len(ids)}
    return int(session.execute(_PUSHED_JOBS, values).scalar_one())


NULL = "\\N"
"""NULL in the text that COPY takes."""

_SEAL = change(
    "batch",
    "sealed_at = now()",
    "id = :batch_id AND sealed_at IS NULL",
    kind="'batch.sealed'",
    detail="jsonb_build_object('jobs', job_count)",
)


def seal_batch(session: Session, batch_id: UUID) -> bool:
    """Close an open batch: no more jobs. Returns False if it was closed before."""
    return changed_a_row(session, _SEAL, batch_id=batch_id)


# The digest is that of all its jobs, some of which may not have come.
_CANCEL = change(
    "batch",
    "sealed_at = now(), cancelled_at = now(), digest = NULL",
    "id = :batch_id AND sealed_at IS NULL",
    kind="'batch.cancelled'",
    detail=BY,
)


def cancel_open_batch(session: Session, batch_id: UUID, *, by: str) -> bool:
    """Close an open batch because a person cancels it. Returns False if it was closed before."""
    return changed_a_row(session, _CANCEL, batch_id=batch_id, by=by)
