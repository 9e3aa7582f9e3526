"""Batches that are filled by several requests: opened, given jobs, sealed."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models import Batch, queries, transitions
from models.db.session import Sessions, transaction
from models.transitions.batches.filling import HeldBatch
from models.transitions.jobs import NewBatch
from rushes.bulk.lines import CheckedLines
from rushes.errors import Conflict, InvalidInput, NotFound, Problem
from rushes.jobs.pushing import OnRepeat, Pushed, check_name, store_batch
from rushes.jobs.uploads import require_uploads


class Added(NamedTuple):
    """What a request has added to a batch."""

    batch: str  # its name
    first_number: int
    last_number: int  # also the number of jobs that the batch has now


def open_batch(sessions: Sessions, new: NewBatch, *, on_repeat: OnRepeat) -> Pushed:
    """Store a batch that takes jobs until it is sealed. Raises as `store_batch` does.

    Its digest is the caller's. A repetition returns the batch even if it is still open.
    """
    check_name(new.name)
    return store_batch(sessions, new, transitions.filling.open_batch, on_repeat=on_repeat)


def read_batch(sessions: Sessions, batch_id: UUID) -> Batch:
    """Return the batch's row. Raises `NotFound`."""
    with transaction(sessions) as session:
        batch = session.get(Batch, batch_id)
    if batch is None:
        raise NotFound(f"there is no batch {batch_id}")
    return batch


def add_jobs(sessions: Sessions, batch_id: UUID, lines: CheckedLines, *, max_jobs: int) -> Added:
    """Add checked jobs to an open batch, all of them or none. Raises `Conflict` if it is closed, or `InvalidInput`."""
    with transaction(sessions) as session:
        held = _hold_open(session, batch_id)
        if held.job_count + len(lines.numbers) > max_jobs:
            message = f"batch {held.name!r} has {held.job_count:,} jobs, and takes at most {max_jobs:,} in total"
            raise InvalidInput([Problem("lines", f"{message} (RUSHES_MAX_BATCH_JOBS)")])
        require_uploads(session, lines.uses, tenant_id=held.tenant_id)
        own = [stem.lower() for stem in lines.stems if stem]
        taken = queries.jobs.list_taken_stems(session, held.id, own)
        stems = [None if stem and stem.lower() in taken else stem for stem in lines.stems]
        jobs = transitions.filling.add_jobs(session, held, lines.rows, stems=stems, uses=lines.uses)
    return Added(held.name, held.job_count + 1, jobs)


def seal_batch(sessions: Sessions, batch_id: UUID) -> None:
    """Let a batch take no more jobs. Repeating it changes nothing. Raises `Conflict` if it was cancelled or deleted."""
    with transaction(sessions) as session:
        if not transitions.filling.seal_batch(session, batch_id):
            held = _hold(session, batch_id)
            if held.cancelled_at is not None or held.deleted_at is not None:
                raise Conflict(_explain(held))


def _hold_open(session: Session, batch_id: UUID) -> HeldBatch:
    held = _hold(session, batch_id)
    if held.sealed_at is not None:
        raise Conflict(f"{_explain(held)}: it takes no more jobs")
    return held


def _hold(session: Session, batch_id: UUID) -> HeldBatch:
    held = transitions.filling.hold_batch(session, batch_id)
    if held is None:
        raise NotFound(f"there is no batch {batch_id}")
    return held


def _explain(held: HeldBatch) -> str:
    state = "deleted" if held.deleted_at else "cancelled" if held.cancelled_at else "sealed"
    return f"batch {held.name!r} is {state}"
