"""After a restore: assigns unknown predictions to the jobs they were bought for, then releases the account.

After a restore the rows lack some purchases, and the queued jobs would be bought again. So the account is paused. A run
that begins after the settle time reads everything the provider has created since the restored state. If a prediction
has the input of a job that would be bought, the job adopts it and is not bought again. If this is unclear, the account
waits for a person.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from models import PredictionState, queries, transitions
from models.db.session import transaction
from models.queries.reconciling.restore import OpenJob
from rushes.reconciling.matching import Candidate, Clocks, Submission, match_submissions
from rushes.runtime import Runtime
from rushes.wavespeed.predictions import PredictionStatus, ProviderPrediction

SWEEP = "the unknown prediction sweep"
EVER = Clocks(-timedelta(minutes=10), timedelta(days=3650))
"""A job is older than its purchase, apart from clock differences, and may have waited for a long time."""
NAMED = 5
_WITHOUT_A_FILE = frozenset(
    {PredictionStatus.FAILED, PredictionStatus.CANCELLED, PredictionStatus.TIMEOUT, PredictionStatus.DELETED}
)
_OUTCOMES = {
    "resumed": "submits again",
    "paused": "paused by a person",
    None: "not opened by this run: a person was first, or another restore was noticed",
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Owner:
    """The job that a prediction was bought for; without a prediction id, its row was lost, too."""

    job_id: UUID
    prediction_id: UUID | None


@dataclass(slots=True)
class Restoration:
    """The results of the sweep after a restore."""

    adoptions: list[tuple[Candidate, Owner]] = field(default_factory=list)
    undecidable: list[Candidate] = field(default_factory=list)  # may be ours: a person checks
    strangers: list[Candidate] = field(default_factory=list)
    is_settled: bool = False  # the settle time has passed: a purchase that was not found does not exist


def match_unknown(unmatched: Sequence[Candidate], open_jobs: Sequence[OpenJob]) -> Restoration:
    """Find the owner of each unknown prediction: a job with equal input that would be bought.

    A prediction is left to a person if it cannot be read, or if it equals only a job with a purchase that may still
    fail or turn out not found, so that the job is bought again.
    """
    found = Restoration()
    free = {each.job_id: each for each in open_jobs if each.is_free}
    equal = match_submissions([_as_submission(each) for each in free.values()], unmatched, clocks=EVER)
    for submission, candidate in equal.adoptions:
        found.adoptions.append(
            (candidate, Owner(submission.prediction_id, free[submission.prediction_id].prediction_id))
        )
    bought = [_as_submission(each) for each in open_jobs if not each.is_free]
    rivals = match_submissions(bought, equal.unmatched, clocks=EVER)
    found.undecidable = [each for each in unmatched if each.input is None]
    found.undecidable += [candidate for _, candidate in rivals.adoptions]
    found.strangers = rivals.unmatched
    return found


def _as_submission(open_job: OpenJob) -> Submission:
    """Express the job as a submission for the matching, under the job's id."""
    return Submission(open_job.job_id, open_job.video_model, open_job.input, open_job.created_at, is_open=False)


def adopt_unknown(
    runtime: Runtime, account_id: UUID, found: Restoration, listed: Mapping[str, ProviderPrediction]
) -> list[Candidate]:
    """Give every adoption its row, each in its own transaction; return those whose job has changed meanwhile.

    If the process dies in between, the next run does the rest and finds the rows written before.
    """
    missed = []
    for candidate, owner in found.adoptions:
        with transaction(runtime.sessions) as session:
            if not _adopt(session, runtime, account_id, owner=owner, found=listed[candidate.provider_id]):
                missed.append(candidate)
    return missed


def _adopt(session: Session, runtime: Runtime, account_id: UUID, *, owner: Owner, found: ProviderPrediction) -> bool:
    prediction_id = transitions.restore.post_for_unknown(
        session, account_id, owner.job_id, prediction_id=owner.prediction_id, posted_at=found.created_at
    )
    if prediction_id is None:
        return False
    accept_found(session, runtime, prediction_id, found)
    return True


def accept_found(session: Session, runtime: Runtime, prediction_id: UUID, found: ProviderPrediction) -> str | None:
    """Write that the provider has this prediction of ours, and also its completion if it has succeeded.

    Returns the state as `submitting.accept_prediction` does. If the row has an id already, this returns None and writes
    nothing: the id may be another one, and then its outcome is not this prediction's.
    """
    state = transitions.submitting.accept_prediction(
        session,
        prediction_id,
        provider_id=found.id,
        provider_created_at=found.created_at,
        watch_window=runtime.settings.watch_window,
        adopted=True,
    )
    is_rendering = state == PredictionState.RENDERING
    watched = queries.renders.find_watched(session, prediction_id) if is_rendering and found.has_succeeded else None
    if watched is not None:
        transitions.renders.complete_prediction(session, prediction_id, watched.claim, outputs=found.outputs)
    return state


def is_bought(found: ProviderPrediction) -> bool:
    """Whether a job may still get a file from it. A refunded or deleted prediction may be bought again; a completed one
    without a file may still show one."""
    return found.status not in _WITHOUT_A_FILE


def conclude_restore(session: Session, account_id: UUID, restored: Restoration, *, held_at: datetime) -> str:
    """Release the account, or record why it waits; return a line for operators. A person's pause stays."""
    if not restored.is_settled:
        return "restored: waits for the settle time"
    adopted = f"restored: adopted {len(restored.adoptions)}"
    if restored.undecidable:
        detail = describe_undecidable(restored.undecidable)
        transitions.restore.explain_pause(session, account_id, detail=detail)
        return f"{adopted}, waits for a person: {detail}"
    outcome = transitions.restore.release_restored(session, account_id, by=SWEEP, held_at=held_at)
    return f"{adopted}, {_OUTCOMES[outcome]}"


def describe_undecidable(undecidable: Sequence[Candidate]) -> str:
    """Describe the predictions that a person has to check."""
    ids = ", ".join(each.provider_id for each in undecidable[:NAMED])
    more = f" and {len(undecidable) - NAMED} more" if len(undecidable) > NAMED else ""
    return f"{len(undecidable)} prediction(s) at the provider may be ours, but no row has them: {ids}{more}"
