"""One reconciliation run: compares every submission with a lost answer to the provider's list.

A run is a pipeline. It reads its rows and the list (`evidence.py`). Then each stage takes the listed predictions that
the stages before left, and returns decisions and what remains: purchases named by a webhook's address, unconfirmed
submissions, jobs that a restore would buy again, submissions marked not found. What remains in the end is unknown. The
last step writes: a purchase with a known job in its own transaction (`assign.py`), everything else in one, so a run
that dies before leaves the submissions unconfirmed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, assert_never
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import PredictionState, queries, transitions
from models.db.session import transaction
from models.queries.reconciling import Posted
from rushes.accounts import end_failures
from rushes.errors import Conflict
from rushes.provider_list.lookup import log_foreign_list
from rushes.reconciling.assign import Assignments, assign_purchases, describe_unknown, is_bought
from rushes.reconciling.evidence import (
    FoundPurchase,
    Listing,
    ReconcileFailed,
    ReconciliationRun,
    RunLost,
    lease_of,
    prepare_run,
    read_list,
    renew_claim,
)
from rushes.reconciling.failed_lists import pause_after
from rushes.reconciling.matching import CLOCK_MARGIN, Clocks, match_submissions
from rushes.reconciling.restore import conclude_restore, match_restored
from rushes.runtime import Runtime, count_stale
from rushes.wavespeed.answers import AccountRefused, ProviderUnavailable
from rushes.wavespeed.predictions import ProviderPrediction

PAUSE = timedelta(seconds=2)
"""Between two runs, so that the search for a lost answer resumes soon."""
RESTORE_PAUSE = timedelta(seconds=10)
"""Between two runs while the account is paused after a restore: each run reads all pages since the backup."""
PERSON_PAUSE = timedelta(minutes=10)
"""A submission that a person must decide is still checked at least this often, and more often while it is young."""
FOREIGN_PAUSE = timedelta(minutes=1)
"""How often a submission is checked if another account's list left it undecided."""
LAG_WINDOW = timedelta(hours=1)
"""Only renders younger than this show how late the list is; it may lack an older one for another reason."""
LATE_ARRIVAL = timedelta(days=7)
"""How long after a POST a prediction that was marked not found may still turn up."""

log = structlog.get_logger(__name__)


class Adopt(NamedTuple):
    """The submission bought this prediction."""

    submission: Posted
    found: ProviderPrediction


class MarkNotFound(NamedTuple):
    """The submission bought nothing."""

    submission: Posted


class Wait(NamedTuple):
    """Search for the submission again after this time."""

    submission: Posted
    delay: timedelta


class AskOperator(NamedTuple):
    """A person decides the submission, unless a search after this time does."""

    submission: Posted
    delay: timedelta
    why: str


Decision = Adopt | MarkNotFound | Wait | AskOperator


@dataclass(frozen=True, slots=True)
class Decided:
    """The decisions of all stages."""

    unconfirmed: Sequence[Decision]
    restored: Sequence[FoundPurchase]  # made before a restore
    undecidable: Sequence[ProviderPrediction]  # after a restore: may be ours, so a person checks
    late: Sequence[FoundPurchase]  # of submissions marked not found
    unknown: Sequence[ProviderPrediction]
    is_early: bool  # too early after a restore to decide about the predictions that are left


def reconcile_account(runtime: Runtime, account_id: UUID, claim: int) -> str:
    """Make the run of this claim; return a line for operators. Raises `ReconcileFailed`."""
    with transaction(runtime.sessions) as session:
        ticket = transitions.runs.begin_reconcile(session, account_id, claim, lease=lease_of(runtime))
        if ticket is None:
            return "stale: nothing to do"
        run = prepare_run(runtime, session, account_id, claim=claim, ticket=ticket)
    try:
        listing = read_list(runtime, run)
        if ticket.provider_failures:
            end_failures(runtime, account_id)
        return _write(runtime, run, listing, decide(run, listing))
    except RunLost:
        count_stale(runtime, "reconcile.run", account_id)
        raise
    except (AccountRefused, ProviderUnavailable) as error:
        _give_back(runtime, run, pause=pause_after(runtime, account_id, error))
        raise ReconcileFailed(str(error)) from error
    except (IntegrityError, Conflict) as error:
        # A direct answer, a person or another run decided one of them first: the next run sees that.
        _give_back(runtime, run, pause=timedelta(0))
        raise ReconcileFailed("somebody else has decided one of these submissions: nothing written") from error


def _give_back(runtime: Runtime, run: ReconciliationRun, *, pause: timedelta) -> None:
    with transaction(runtime.sessions) as session:
        transitions.runs.hold_next_run(session, run.account_id, run.claim, pause=pause)
    runtime.waker.wake()


def decide(run: ReconciliationRun, listing: Listing) -> Decided:
    """Decide by the evidence alone. The rows may have changed since: each write checks that."""
    named = {each.prediction_id for each in listing.named}
    unconfirmed, left = _match_unconfirmed(run, listing, named)
    restored, undecidable, is_early = list[FoundPurchase](), list[ProviderPrediction](), False
    if (restored_at := run.ticket.restored_at) is not None:
        # Before the settle time: a POST made after the backup may be accepted or listed late.
        is_early = restored_at > run.settled_before or listing.is_foreign(run)
        restored, undecidable, left = match_restored(listing, [] if is_early else left)
    late, unknown = _match_not_found(run, left, named)
    return Decided(unconfirmed, restored, undecidable, late, unknown, is_early)


def _match_unconfirmed(
    run: ReconciliationRun, listing: Listing, named: set[UUID | None]
) -> tuple[list[Decision], list[ProviderPrediction]]:
    """First match submissions that the list reaches. Older submissions, posted before the list begins, get the rest."""
    posted = [each for each in (*run.posted, *listing.posted_since) if each.state != PredictionState.NOT_FOUND]
    waiting = [each for each in posted if each.prediction_id not in named]
    reached = [each for each in waiting if listing.reaches(each, run.clocks)]
    unreached = [each for each in waiting if not listing.reaches(each, run.clocks)]
    found = match_submissions(reached, listing.candidates, clocks=run.clocks)
    older = match_submissions(unreached, found.unmatched, clocks=run.clocks)
    foreign = listing.find_foreign(run.controls)

    def wait(submission: Posted) -> Wait:
        return Wait(submission, FOREIGN_PAUSE if submission.prediction_id in foreign else PAUSE)

    def judge(submission: Posted) -> Decision:
        is_settled = submission.posted_at < run.settled_before and submission.prediction_id not in foreign
        return MarkNotFound(submission) if is_settled else wait(submission)

    def ask(submission: Posted, why: str) -> AskOperator:
        # Wait as long again as it has waited: inputs that are missing for a moment must not cost ten minutes.
        waited = run.ticket.began_at - submission.posted_at
        return AskOperator(submission, max(PAUSE, min(waited, PERSON_PAUSE)), f"{why}: decide by hand")

    decided: list[Decision] = [
        *map(judge, found.missing),
        *(ask(each, "a candidate's input cannot be read") for each in found.undecidable),
        *(ask(each, "the list is too long to be read back to it") for each in (*older.missing, *older.undecidable)),
        *map(wait, found.waiting),
    ]
    sought = [each for each in decided if each.submission.prediction_id in run.sought]
    return [*(Adopt(*pair) for pair in (*found.adoptions, *older.adoptions)), *sought], older.unmatched


def _match_not_found(
    run: ReconciliationRun, left: list[ProviderPrediction], named: set[UUID | None]
) -> tuple[list[FoundPurchase], list[ProviderPrediction]]:
    """Match the rest with submissions marked not found. Waiting jobs get the paid ones."""
    clocks = Clocks(run.clocks.earliest, LATE_ARRIVAL)
    not_found = [
        each for each in run.posted if each.state == PredictionState.NOT_FOUND and each.prediction_id not in named
    ]
    readable = [each for each in left if each.inputs is not None]
    refunded = [each for each in readable if not is_bought(each)]
    wanted = [each for each in not_found if each.is_wanted]
    first = match_submissions(wanted, [each for each in readable if is_bought(each)], clocks=clocks)
    ended = [each for each in not_found if not each.is_wanted]
    others = match_submissions([*first.missing, *ended], [*first.unmatched, *refunded], clocks=clocks)
    late = [FoundPurchase(own.job_id, own.prediction_id, found) for own, found in (*first.adoptions, *others.adoptions)]
    return late, others.unmatched


def _write(runtime: Runtime, run: ReconciliationRun, listing: Listing, decided: Decided) -> str:
    """Write the decisions; return a line for operators."""
    named = _assign(runtime, run, listing.named)
    restored = _assign(runtime, run, decided.restored)
    late = _assign(runtime, run, decided.late)
    undecidable = [*decided.undecidable, *restored.unassigned]
    unknown = [*decided.unknown, *named.unassigned, *undecidable]
    foreign, is_foreign = listing.find_foreign(run.controls), listing.is_foreign(run)
    if foreign or is_foreign:
        log_foreign_list(runtime, run.account_id, sorted(foreign), once=False)
    with transaction(runtime.sessions) as session:
        lag = 0.0 if foreign or is_foreign else _measure_lag(session, run, listing)
        summary = _write_unconfirmed(runtime, session, decided.unconfirmed)
        new = transitions.runs.insert_unknown_predictions(
            session, [describe_unknown(run.account_id, each) for each in unknown if not is_foreign]
        )
        _finish(session, run, lag=lag, is_foreign=is_foreign, is_early=decided.is_early)
        summary += f", new unknown predictions {len(new)}"
        summary += late.describe("found late") if decided.late else ""
        summary += named.describe("by their webhooks") if listing.named else ""
        if decided.is_early:
            summary += "; restored: waits for the settle time"
        elif held_at := run.ticket.restored_at:
            concluded = conclude_restore(session, run.account_id, undecidable, held_at=held_at)
            summary += f"; restored: adopted {restored.adopted}, {concluded}"
    for provider_id in new:
        log.warning("account.unknown_prediction", account_id=str(run.account_id), provider_id=provider_id)
    runtime.waker.wake()
    return summary


def _assign(runtime: Runtime, run: ReconciliationRun, purchases: Sequence[FoundPurchase]) -> Assignments:
    if not purchases:
        return Assignments()
    renew_claim(runtime, run)
    return assign_purchases(runtime, run.account_id, purchases)


def _measure_lag(session: Session, run: ReconciliationRun, listing: Listing) -> float:
    listed, began_at = listing.shown, run.ticket.began_at
    after = max(listing.since + CLOCK_MARGIN, began_at - LAG_WINDOW)
    return queries.reconciling.measure_list_lag(session, run.account_id, listed=listed, listed_at=began_at, after=after)


def _write_unconfirmed(runtime: Runtime, session: Session, decisions: Sequence[Decision]) -> str:
    done: Counter[type[Decision]] = Counter()
    delays: dict[UUID, timedelta] = {}
    for decision in decisions:
        prediction_id = decision.submission.prediction_id
        match decision:
            case Adopt(found=found):
                state = transitions.submitting.accept_prediction(
                    session,
                    prediction_id,
                    provider_id=found.id,
                    provider_created_at=found.created_at,
                    watch_window=runtime.settings.watch_window,
                    adopted=True,
                )
                if state != PredictionState.RENDERING:
                    raise Conflict(f"{prediction_id} was decided meanwhile")
            case MarkNotFound():
                why = "the provider's list does not show it"
                if not transitions.runs.mark_not_found(session, prediction_id, why=why):
                    done[Wait] += 1
                    delays[prediction_id] = PAUSE
                    continue
            case AskOperator():
                transitions.runs.note_undecided(session, [prediction_id], code="undecidable", message=decision.why)
                delays[prediction_id] = decision.delay
            case Wait():
                delays[prediction_id] = decision.delay
            case _:
                assert_never(decision)
        done[type(decision)] += 1
    transitions.runs.postpone_unconfirmed(session, delays)
    summary = f"adopted {done[Adopt]}, not found {done[MarkNotFound]}, waiting {done[Wait]}"
    return f"{summary}, for a person {done[AskOperator]}"


def _finish(session: Session, run: ReconciliationRun, *, lag: float, is_foreign: bool, is_early: bool) -> None:
    """Comes last, because the account's row is locked last of all. If the claim is lost, everything is rolled back."""
    is_sweep = run.swept_after is not None
    pause = RESTORE_PAUSE if run.ticket.restored_at is not None else PAUSE
    if not transitions.runs.hold_next_run(
        session,
        run.account_id,
        run.claim,
        pause=FOREIGN_PAUSE if is_sweep and is_foreign else pause,
        lag_seconds=lag,
        swept_at=run.ticket.began_at if is_sweep and not (is_foreign or is_early) else None,
    ):
        raise RunLost("another run took over: nothing written")
