"""After a restore: finds the jobs that unknown predictions were bought for, then releases the account.

The restored rows lack some purchases, and their jobs would be bought again. So the account is paused until a run that
begins after the settle time has read everything the provider has created since the restored state, and has given each
purchase to a job with its input that would be bought. If this is unclear, the account waits for a person.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from models import transitions
from models.queries.reconciling import OpenJob
from rushes.reconciling.assign import is_bought
from rushes.reconciling.evidence import FoundPurchase, Listing
from rushes.reconciling.matching import Clocks, match_submissions
from rushes.wavespeed.predictions import ProviderPrediction

SWEEP = "the unknown prediction sweep"
EVER = Clocks(-timedelta(minutes=10), timedelta(days=3650))
"""A job is older than its purchase, apart from clock differences, and may have waited for a long time."""
NAMED = 5
_OUTCOMES = {
    "resumed": "submits again",
    "paused": "paused by a person",
    None: "not opened by this run: a person was first, or another restore was noticed",
}


def match_restored(
    listing: Listing, left: list[ProviderPrediction]
) -> tuple[list[FoundPurchase], list[ProviderPrediction], list[ProviderPrediction]]:
    """Return the purchases made before a restore, the predictions that a person has to check, and what is left."""
    named = {each.job_id for each in listing.named}  # they are about to get those
    open_jobs = [each._replace(is_free=each.is_free and each.job_id not in named) for each in listing.open_jobs]
    bought = [each for each in left if each.id not in listing.strangers and is_bought(each)]
    purchases, undecidable = match_unknown(bought, open_jobs)
    decided = {each.id for each in (*undecidable, *(purchase.found for purchase in purchases))}
    return purchases, undecidable, [each for each in left if each.id not in decided]


def match_unknown(
    unmatched: Sequence[ProviderPrediction], open_jobs: Sequence[OpenJob]
) -> tuple[list[FoundPurchase], list[ProviderPrediction]]:
    """Find the job of each unknown prediction: one with equal input that would be bought. Return these purchases, and
    the predictions that a person has to check.

    A prediction is left to a person in three cases: it cannot be read; it equals only a job with a purchase that may
    still fail or turn out not found, after which the job is bought again; or it differs from a job only in the address
    of a file, which the restore may have lost.
    """
    equal = match_submissions([each for each in open_jobs if each.is_free], unmatched, clocks=EVER)
    rivals = match_submissions([each for each in open_jobs if not each.is_free], equal.unmatched, clocks=EVER)
    alike = match_submissions(
        [_without_files(each) for each in open_jobs if each.uploads], rivals.unmatched, clocks=EVER
    )
    unreadable = [each for each in unmatched if each.inputs is None]
    purchases = [FoundPurchase(job.job_id, None, found) for job, found in equal.adoptions]
    return purchases, [*unreadable, *(found for _, found in (*rivals.adoptions, *alike.adoptions))]


def _without_files(job: OpenJob) -> OpenJob:
    return job._replace(input={name: value for name, value in job.input.items() if name not in job.uploads})


def conclude_restore(
    session: Session, account_id: UUID, undecidable: Sequence[ProviderPrediction], *, held_at: datetime
) -> str:
    """Release the account, or record why it waits; return a line for operators. A person's pause stays."""
    if undecidable:
        detail = describe_undecidable(undecidable)
        transitions.pauses.explain_pause(session, account_id, detail=detail)
        return f"waits for a person: {detail}"
    return _OUTCOMES[transitions.pauses.release_restored(session, account_id, by=SWEEP, held_at=held_at)]


def describe_undecidable(undecidable: Sequence[ProviderPrediction]) -> str:
    """Describe the predictions that a person has to check."""
    ids = ", ".join(each.id for each in undecidable[:NAMED])
    more = f" and {len(undecidable) - NAMED} more" if len(undecidable) > NAMED else ""
    return f"{len(undecidable)} prediction(s) at the provider may be ours, but no row has them: {ids}{more}"
