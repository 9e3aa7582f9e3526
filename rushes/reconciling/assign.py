"""Purchases whose owner is known: unknown predictions that carry the address of a webhook of ours, whatever their input
says, those that equal what was marked not found, and what a webhook or a late answer tells of.

The token in the address names the prediction and the job, so a purchase finds its job even where a restored database
has lost its row. What is learnt so is a fact: it is written at once, each in a transaction of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models import PredictionState, queries, transitions
from models.db.session import transaction
from models.queries.reconciling.restore import JobSnapshot
from rushes.reconciling.duplicates import log_duplicate
from rushes.reconciling.matching import Candidate
from rushes.reconciling.restore import accept_found, is_bought
from rushes.runtime import Runtime
from rushes.wavespeed import ProviderPrediction
from rushes.wavespeed.callback_urls import Origin

READINGS = 3
"""So often the rows are read before an unknown prediction whose job moves all the time is left to the next run."""


class Assigned(NamedTuple):
    """The row that has a purchase now; None where another has settled it, or its job moves on all the time."""

    prediction_id: UUID | None
    state: str | None = None  # that it has by this; None: nothing was written

    @property
    def is_duplicate(self) -> bool:
        """Whether its job has another one."""
        return self.state == PredictionState.DUPLICATE


@dataclass(slots=True)
class Assignments:
    """What became of the unknown predictions whose owner is known."""

    adopted: set[UUID] = field(default_factory=set)  # the rows that have them now
    duplicates: set[UUID] = field(default_factory=set)  # those whose job has another one
    strangers: list[Candidate] = field(default_factory=list)  # without a row: their job is not in this database

    def describe(self, how: str) -> str:
        """For operators; empty where there was nothing to settle."""
        if not (self.adopted or self.duplicates or self.strangers):
            return ""
        return f"; {how}: adopted {len(self.adopted)}, duplicates {len(self.duplicates)}"


def assign_named(
    runtime: Runtime, account_id: UUID, named: Sequence[Candidate], listed: Mapping[str, ProviderPrediction]
) -> Assignments:
    """Give each its row: that of its prediction, else one for its job where that would be bought, else a duplicate
    purchase.

    What was paid for goes first, so that it is not the duplicate purchase of what failed.
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
    """The same for one that its webhook or the answer to its POST tells of; None where there is no such job.

    That is no adoption, and no outcome. The caller has made sure that no other row has it. Where its own row has learnt
    an id at this instant, nothing is written, as where it has one already.
    """
    return _assign(session, runtime, account_id, origin=origin, found=found, is_answered=True)


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
    """The row that it has now; None where its job is not in this database.

    What is read may be over a moment later. The rows themselves refuse what does not hold any more, and are read again:
    so a job that is admitted just now gets what was bought for it, and nothing is a duplicate purchase that another has
    adopted.
    """
    prediction_id, job_id = origin
    for _ in range(READINGS):
        snapshot = queries.restore.find_job_snapshot(session, prediction_id, job_id)
        if snapshot is None:
            return None
        target = _find_row(session, account_id, snapshot, origin=origin, found=found)
        if target is not None:
            accept = _accept_answered if is_answered else accept_found
            state = accept(session, runtime, target, found)
            if state is None and not is_answered:
                continue
            return Assigned(target, state)
        duplicate_id = transitions.unknown_predictions.record_duplicate(
            session, account_id, job_id, provider_id=found.id, provider_created_at=found.created_at
        )
        if duplicate_id is not None:
            return Assigned(duplicate_id, PredictionState.DUPLICATE)
    return Assigned(None)


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
    """The row that is to have it; None where its job waits for nothing, or has moved on at this instant."""
    prediction_id, job_id = origin
    if snapshot.waits or (snapshot.is_given_up and not is_bought(found)):
        return prediction_id  # in the latter case as a duplicate without a price: no attempt of a job that waits
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
