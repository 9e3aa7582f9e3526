"""Assigns purchases with a known owner to their jobs.

These are unknown predictions that carry the address of one of our webhooks, whatever their input; those that equal a
submission marked not found; and those reported by a webhook or a late answer. The token in the address names the
prediction and the job, so a purchase finds its job even if a restored database has lost its row. The owner is a fact,
so each assignment is written at once, in its own transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from models import queries, transitions
from models.db.session import transaction
from models.queries.reconciling.restore import JobSnapshot
from models.transitions.reconciling.unknown_predictions import is_unwanted
from models.transitions.submitting import DUPLICATE
from rushes.reconciling.matching import Candidate
from rushes.reconciling.restore import accept_found, is_bought
from rushes.runtime import Runtime
from rushes.wavespeed.callback_urls import Origin
from rushes.wavespeed.predictions import ProviderPrediction

log = structlog.get_logger(__name__)

READINGS = 3
"""The rows are read at most this often. If the job still keeps changing, its prediction is left to the next run."""


class Assigned(NamedTuple):
    """The row that has a purchase now; None if another process settled it, or its job keeps changing."""

    prediction_id: UUID | None
    state: str | None = None  # as this call wrote it; None: nothing was written

    @property
    def is_duplicate(self) -> bool:
        """Whether its job has another purchase."""
        return self.state == DUPLICATE


@dataclass(slots=True)
class Assignments:
    """The results for unknown predictions with a known owner."""

    adopted: set[UUID] = field(default_factory=set)  # the rows that have them now
    duplicates: set[UUID] = field(default_factory=set)  # rows of duplicate purchases: their job has another one
    strangers: list[Candidate] = field(default_factory=list)  # no row: their job is not in this database

    def describe(self, how: str) -> str:
        """Describe the results for operators; empty if there was nothing to settle."""
        if not (self.adopted or self.duplicates or self.strangers):
            return ""
        return f"; {how}: adopted {len(self.adopted)}, duplicates {len(self.duplicates)}"


def assign_named(
    runtime: Runtime, account_id: UUID, named: Sequence[Candidate], listed: Mapping[str, ProviderPrediction]
) -> Assignments:
    """Give each prediction a row: its own; else a new row if its job would be bought; else as a duplicate purchase.

    Paid predictions go first, so that none becomes the duplicate purchase of a failed one.
    """
    assignments = Assignments()
    ordered = sorted(named, key=lambda each: (not is_bought(listed[each.provider_id]), _age_key(each)))
    for candidate in ordered:
        assert candidate.origin is not None  # noqa: S101 - the caller passes named ones
        found = listed[candidate.provider_id]
        with transaction(runtime.sessions) as session:
            assigned = _assign(session, runtime, account_id, origin=candidate.origin, found=found, is_answered=False)
        if assigned is None:
            assignments.strangers.append(candidate)
            continue
        if assigned.prediction_id is not None:
            (assignments.duplicates if assigned.is_duplicate else assignments.adopted).add(assigned.prediction_id)
        if assigned.prediction_id is not None and assigned.is_duplicate:
            log_duplicate(assigned.prediction_id, candidate.provider_id)
    return assignments


def assign_answered(
    session: Session, runtime: Runtime, account_id: UUID, *, origin: Origin, found: ProviderPrediction
) -> Assigned | None:
    """Do the same for a prediction reported by its webhook or the answer to its POST; None if there is no such job.

    This is neither an adoption nor an outcome. The caller has made sure that no other row has this prediction. If its
    own row has an id, even one written at this instant, nothing is written.
    """
    return _assign(session, runtime, account_id, origin=origin, found=found, is_answered=True)


def log_duplicate(prediction_id: UUID, provider_id: str) -> None:
    """Report to operators that a job was bought twice, or may have been."""
    log.error("duplicate.found", prediction_id=str(prediction_id), provider_id=provider_id)


def _age_key(candidate: Candidate) -> float:
    return candidate.created_at.timestamp() if candidate.created_at else 0.0


def _assign(
    session: Session,
    runtime: Runtime,
    account_id: UUID,
    *,
    origin: Origin,
    found: ProviderPrediction,
    is_answered: bool,
) -> Assigned | None:
    """Return the row that has the prediction now; None if its job is not in this database.

    The snapshot may be out of date a moment later. Writes that no longer apply then change nothing, and the rows are
    read again. So a job that is just being admitted gets its purchase, and a prediction that another row has adopted
    never becomes a duplicate purchase.
    """
    prediction_id, job_id = origin
    for _ in range(READINGS):
        snapshot = queries.restore.find_job_snapshot(session, prediction_id, job_id)
        if snapshot is None:
            return None
        target = _find_row(session, account_id, snapshot, origin=origin, found=found)
        if target is not None:
            assigned = _accept(session, runtime, Origin(target, job_id), found, is_answered=is_answered)
        else:
            assigned = _record_duplicate(session, runtime, account_id, job_id=job_id, found=found)
        if assigned is not None:
            return assigned
    return Assigned(None)


def _accept(
    session: Session, runtime: Runtime, target: Origin, found: ProviderPrediction, *, is_answered: bool
) -> Assigned | None:
    """Give it to this row. Returns None, and writes nothing, if the row or its job has just changed."""
    accept = _accept_answered if is_answered else accept_found
    with session.begin_nested() as savepoint:
        state = accept(session, runtime, target.prediction_id, found)
        if state == DUPLICATE and is_bought(found) and not is_unwanted(session, target.job_id):
            savepoint.rollback()  # its job is queued again by now, and would be bought once more
            return None
    return Assigned(target.prediction_id, state) if state is not None or is_answered else None


def _record_duplicate(
    session: Session, runtime: Runtime, account_id: UUID, *, job_id: UUID, found: ProviderPrediction
) -> Assigned | None:
    duplicate_id = transitions.unknown_predictions.record_duplicate(
        session,
        account_id,
        job_id,
        provider_id=found.id,
        provider_created_at=found.created_at,
        watch_window=runtime.settings.watch_window,
    )
    return Assigned(duplicate_id, DUPLICATE) if duplicate_id is not None else None


def _accept_answered(session: Session, runtime: Runtime, prediction_id: UUID, found: ProviderPrediction) -> str | None:
    return transitions.submitting.accept_prediction(
        session,
        prediction_id,
        provider_id=found.id,
        provider_created_at=found.created_at,
        watch_window=runtime.settings.watch_window,
    )


def _find_row(
    session: Session, account_id: UUID, snapshot: JobSnapshot, *, origin: Origin, found: ProviderPrediction
) -> UUID | None:
    """Return the row to assign it to; None if its job needs no purchase, or has just changed."""
    prediction_id, job_id = origin
    if snapshot.waits or (snapshot.is_given_up and not is_bought(found)):
        return prediction_id  # refunded: a duplicate without a price, no attempt of a waiting job
    if snapshot.is_wanted:
        return transitions.restore.post_for_unknown(
            session,
            account_id,
            job_id,
            prediction_id=snapshot.unposted_id,
            posted_at=found.created_at,
            named=None if snapshot.state else prediction_id,
        )
    return prediction_id if snapshot.is_given_up else None
