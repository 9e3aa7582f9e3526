"""Purchases whose owner is known: orphans that carry the address of a webhook of ours, whatever their input says, those
that equal what was called absent, and what a webhook or a late answer tells of.

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
from models.queries import Standing
from rushes.reconciling.duplicates import tell_surplus
from rushes.reconciling.matching import Candidate
from rushes.reconciling.restore import accept_found, is_bought
from rushes.runtime import Runtime
from rushes.wavespeed import Prediction

READINGS = 3
"""So often the rows are read before an orphan whose job moves all the time is left to the next pass."""


class Home(NamedTuple):
    """The row that has a purchase now; None where another has settled it, or its job moves on all the time."""

    prediction_id: UUID | None
    state: str | None = None  # that it has by this; None: nothing was written

    @property
    def is_surplus(self) -> bool:
        """Whether its job has another one."""
        return self.state == PredictionState.SURPLUS


@dataclass(slots=True)
class Settled:
    """What became of the orphans whose owner is known."""

    adopted: set[UUID] = field(default_factory=set)  # the rows that have them now
    surpluses: set[UUID] = field(default_factory=set)  # those whose job has another one
    strangers: list[Candidate] = field(default_factory=list)  # without a row: their job is not in this database

    def describe(self, how: str) -> str:
        """For operators; empty where there was nothing to settle."""
        if not (self.adopted or self.surpluses or self.strangers):
            return ""
        return f"; {how}: adopted {len(self.adopted)}, surplus {len(self.surpluses)}"


def settle_named(
    runtime: Runtime, account_id: UUID, named: Sequence[Candidate], listed: Mapping[str, Prediction]
) -> Settled:
    """Give each its row: that of its prediction, else one for its job where that would be bought, else a surplus.

    What was paid for goes first, so that it is not the surplus of what failed.
    """
    settled = Settled()
    ordered = sorted(named, key=lambda each: (not is_bought(listed[each.provider_id]), _age_key(each)))
    for candidate in ordered:
        assert candidate.names is not None  # noqa: S101 - the caller passes named ones
        found = listed[candidate.provider_id]
        with transaction(runtime.sessions) as session:
            home = _settle(session, runtime, account_id, names=candidate.names, found=found, is_told=False)
        if home is None:
            settled.strangers.append(candidate)
            continue
        if home.prediction_id is not None:
            (settled.surpluses if home.is_surplus else settled.adopted).add(home.prediction_id)
        if home.prediction_id is not None and home.is_surplus:
            tell_surplus(home.prediction_id, candidate.provider_id)
    return settled


def settle_told(
    session: Session, runtime: Runtime, account_id: UUID, *, names: tuple[UUID, UUID], found: Prediction
) -> Home | None:
    """The same for one that its webhook or the answer to its POST tells of; None where there is no such job.

    That is no adoption, and no verdict. The caller has made sure that no other row has it. Where its own row has learnt
    an id at this instant, nothing is written, as where it has one already.
    """
    return _settle(session, runtime, account_id, names=names, found=found, is_told=True)


def _age_key(candidate: Candidate) -> float:
    return candidate.created_at.timestamp() if candidate.created_at else 0.0


def _settle(
    session: Session,
    runtime: Runtime,
    account_id: UUID,
    *,
    names: tuple[UUID, UUID],
    found: Prediction,
    is_told: bool,
) -> Home | None:
    """The row that it has now; None where its job is not in this database.

    What is read may be over a moment later. The rows themselves refuse what does not hold any more, and are read again:
    so a job that is admitted just now gets what was bought for it, and nothing is a surplus that another has adopted.
    """
    prediction_id, job_id = names
    for _ in range(READINGS):
        standing = queries.find_standing(session, prediction_id, job_id)
        if standing is None:
            return None
        target = _find_row(session, account_id, standing, names=names, found=found)
        if target is not None:
            accept = _accept_told if is_told else accept_found
            state = accept(session, runtime, target, found)
            if state is None and not is_told:
                continue
            return Home(target, state)
        surplus_id = transitions.record_surplus(
            session, account_id, job_id, provider_id=found.id, provider_created_at=found.created_at
        )
        if surplus_id is not None:
            return Home(surplus_id, PredictionState.SURPLUS)
    return Home(None)


def _accept_told(session: Session, runtime: Runtime, prediction_id: UUID, found: Prediction) -> str | None:
    return transitions.accept_prediction(
        session,
        prediction_id,
        provider_id=found.id,
        provider_created_at=found.created_at,
        watch_window=runtime.settings.watch_window,
    )


def _find_row(
    session: Session, account_id: UUID, standing: Standing, *, names: tuple[UUID, UUID], found: Prediction
) -> UUID | None:
    """The row that is to have it; None where its job waits for nothing, or has moved on at this instant."""
    prediction_id, job_id = names
    if standing.waits or (standing.is_given_up and not is_bought(found)):
        return prediction_id  # in the latter case as a surplus without a price: it is no attempt of a job that waits
    if standing.is_wanted:
        return transitions.post_for_orphan(
            session,
            account_id,
            job_id,
            prediction_id=standing.unposted_id,
            posted_at=found.created_at,
            named=None if standing.state else prediction_id,
        )
    return prediction_id if standing.is_given_up else None
