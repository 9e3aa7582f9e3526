"""Gives purchases with a known job their rows.

A purchase is known by the address of its webhook, which names prediction and job even if a restored database has lost
the row; by its input, which equals a submission marked not found or a job that a restored database would buy again; or
by a webhook or a late answer. Each one is written in its own transaction: if the process dies in between, the next run
does the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from models import PredictionState, queries, transitions
from models.db.session import transaction
from models.queries.reconciling import JobSnapshot
from models.transitions.reconciling.purchases import is_unwanted
from models.transitions.submitting import DUPLICATE
from rushes.reconciling.evidence import FoundPurchase
from rushes.runtime import Runtime
from rushes.wavespeed.callback_urls import Origin
from rushes.wavespeed.predictions import PredictionStatus, ProviderPrediction

READINGS = 3
"""The rows are read at most this often. If the job still keeps changing, its prediction is left to the next run."""
_WITHOUT_A_FILE = frozenset(
    {PredictionStatus.FAILED, PredictionStatus.CANCELLED, PredictionStatus.TIMEOUT, PredictionStatus.DELETED}
)

log = structlog.get_logger(__name__)


class Assigned(NamedTuple):
    """The row that has a purchase now; None if another process settled it, or its job keeps changing."""

    prediction_id: UUID | None
    state: str | None = None  # as this call wrote it; None: nothing was written


@dataclass(slots=True)
class Assignments:
    """The results for several purchases."""

    adopted: int = 0
    duplicates: int = 0  # their job has another purchase
    unassigned: list[ProviderPrediction] = field(default_factory=list)  # this database has no job for them

    def describe(self, how: str) -> str:
        """Describe the results for operators."""
        return f"; {how}: adopted {self.adopted}, duplicates {self.duplicates}"


def assign_purchases(runtime: Runtime, account_id: UUID, purchases: Sequence[FoundPurchase]) -> Assignments:
    """Give each purchase a row: its own; else a new row if its job would be bought; else as a duplicate purchase.

    Paid predictions go first, so that none becomes the duplicate purchase of a failed one.
    """
    assignments = Assignments()
    for purchase in sorted(purchases, key=lambda each: (not is_bought(each.found), _age_key(each.found))):
        with transaction(runtime.sessions) as session:
            assigned = _assign(session, runtime, account_id, purchase, is_answered=False)
        if assigned is None:
            assignments.unassigned.append(purchase.found)
        elif assigned.state == DUPLICATE:
            assignments.duplicates += 1
            log_duplicate(assigned.prediction_id, purchase.found.id)
        elif assigned.prediction_id is not None:
            assignments.adopted += 1
    return assignments


def assign_answered(
    session: Session, runtime: Runtime, account_id: UUID, *, origin: Origin, found: ProviderPrediction
) -> Assigned | None:
    """Do the same for a prediction reported by its webhook or the answer to its POST; None if there is no such job.

    This is neither an adoption nor an outcome. The caller has made sure that no other row has this prediction. If its
    own row has an id, even one written at this instant, nothing is written.
    """
    purchase = FoundPurchase(origin.job_id, origin.prediction_id, found)
    return _assign(session, runtime, account_id, purchase, is_answered=True)


def describe_unknown(account_id: UUID, found: ProviderPrediction) -> dict[str, object]:
    """Return the row of a prediction that no job gets."""
    return {
        "account_id": account_id,
        "provider_id": found.id,
        "video_model": found.video_model_id,
        "input": found.inputs,
        "provider_created_at": found.created_at,
    }


def log_duplicate(prediction_id: UUID | None, provider_id: str) -> None:
    """Report to operators that a job was bought twice, or may have been."""
    log.error("duplicate.found", prediction_id=str(prediction_id), provider_id=provider_id)


def is_bought(found: ProviderPrediction) -> bool:
    """Whether a job may still get a file from it. A refunded or deleted prediction may be bought again; a completed one
    without a file may still show one."""
    return found.status not in _WITHOUT_A_FILE


def _age_key(found: ProviderPrediction) -> float:
    return found.created_at.timestamp() if found.created_at else 0.0


def _assign(
    session: Session, runtime: Runtime, account_id: UUID, purchase: FoundPurchase, *, is_answered: bool
) -> Assigned | None:
    """Return the row that has the prediction now; None if its job is not in this database. A purchase with an unknown
    row is an equal input's: it also gets None unless its job would be bought.

    The snapshot may be out of date a moment later. Writes that no longer apply then change nothing, and the rows are
    read again. So a job that is just being admitted gets its purchase, and a prediction that another row has adopted
    never becomes a duplicate purchase.
    """
    found, is_certain = purchase.found, purchase.prediction_id is not None
    window = runtime.settings.watch_window
    facts: dict[str, Any] = {"provider_id": found.id, "provider_created_at": found.created_at, "watch_window": window}
    for _ in range(READINGS):
        snapshot = queries.reconciling.find_job_snapshot(session, purchase.prediction_id, purchase.job_id)
        if snapshot is None or not (is_certain or snapshot.is_wanted):
            return None
        with session.begin_nested() as savepoint:
            row_id, state = _find_row(session, account_id, snapshot, purchase), None
            if row_id is not None:
                state = transitions.submitting.accept_prediction(session, row_id, adopted=not is_answered, **facts)
            elif is_certain:
                row_id = transitions.purchases.record_duplicate(session, account_id, purchase.job_id, **facts)
                state = DUPLICATE if row_id is not None else None
            is_useful = is_bought(found) and not snapshot.is_outdated
            if state == DUPLICATE and is_useful and not is_unwanted(session, purchase.job_id):
                savepoint.rollback()  # its job is queued again by now, and would be bought once more
                continue
        if row_id is not None and (state is not None or is_answered):
            if state == PredictionState.RENDERING and found.has_succeeded and not is_answered:
                _complete(session, row_id, found)
            return Assigned(row_id, state)
    return Assigned(None) if is_certain else None


def _find_row(session: Session, account_id: UUID, snapshot: JobSnapshot, purchase: FoundPurchase) -> UUID | None:
    """Return the row to assign it to; None if its job needs no purchase, or has just changed."""
    job_id, own_id, found = purchase
    if snapshot.waits or (snapshot.is_given_up and (snapshot.is_outdated or not is_bought(found))):
        return own_id  # refunded, or of an earlier input: a duplicate, no attempt of a waiting job
    if snapshot.unposted_id is not None:
        return transitions.purchases.post_found(session, snapshot.unposted_id, posted_at=found.created_at)
    if snapshot.is_wanted:
        named = None if snapshot.has_row else own_id
        return transitions.purchases.insert_posted(session, account_id, job_id, posted_at=found.created_at, named=named)
    return own_id if snapshot.is_given_up else None


def _complete(session: Session, row_id: UUID, found: ProviderPrediction) -> None:
    watched = queries.renders.find_watched(session, row_id)
    if watched is not None:
        transitions.renders.complete_prediction(session, row_id, watched.claim, outputs=found.outputs)
