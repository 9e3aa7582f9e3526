"""One reconciliation run: compares every submission with a lost answer to the provider's list.

A run adopts the predictions it finds. It marks a submission not found only after the settle time and if the list
answered; if the list fails, it waits. Matches are written in one transaction at the end, so a run that dies leaves the
submissions unconfirmed. Three kinds are written earlier, each in its own transaction: predictions that a webhook's
address identifies, purchases that the restored rows lack, and late arrivals of submissions marked not found.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import PredictionState, queries, transitions
from models.db.session import transaction
from rushes.accounts import back_off
from rushes.provider_list.lookup import log_foreign_list
from rushes.reconciling.assign import Assignments, assign_named
from rushes.reconciling.evidence import (
    CLOCK_MARGIN,
    SWEPT,
    AlreadyDecided,
    Listing,
    ReconcileFailed,
    ReconciliationRun,
    RunLost,
    lease_of,
    prepare_run,
    read_candidates,
    read_list,
    renew_claim,
)
from rushes.reconciling.matching import Candidate, Clocks, Findings, Submission, match_submissions
from rushes.reconciling.restore import Restoration, adopt_unknown, conclude_restore, is_bought, match_unknown
from rushes.retries import ACCOUNT_BACKED_OFF, LONGEST_WISH
from rushes.runtime import Runtime
from rushes.stale_writes import count_stale
from rushes.wavespeed.answers import AccountRefused, KeyRefused, ProviderUnavailable

PAUSE = timedelta(seconds=2)
"""Between two runs, so that the search for a lost answer resumes soon."""
FAILED_PAUSE = timedelta(seconds=5)
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


@dataclass(slots=True)
class _RunFindings(Findings):
    """The findings of a whole run."""

    unreached: list[Submission] = field(default_factory=list)  # posted before the list begins, and not found in it
    reports_unknown: bool = True  # False before the settle time of a restore: unknown predictions are checked then


def reconcile_account(runtime: Runtime, account_id: UUID, claim: int) -> str:
    """Make the run of this claim; return a line for operators. Raises `ReconcileFailed`."""
    with transaction(runtime.sessions) as session:
        ticket = transitions.runs.begin_reconcile(session, account_id, claim, lease=lease_of(runtime))
        if ticket is None:
            return "stale: nothing to do"
        current = prepare_run(runtime, session, account_id, claim=claim, ticket=ticket)
    try:
        return _run(runtime, current)
    except RunLost:
        count_stale(runtime, "reconcile.run", account_id)
        raise
    except (AccountRefused, ProviderUnavailable) as error:
        _give_back(runtime, current, pause=_find_pause(runtime, account_id, error))
        raise ReconcileFailed(str(error)) from error
    except (IntegrityError, AlreadyDecided) as error:
        # A direct answer, a person or another run decided one of them first: the next run sees that.
        _give_back(runtime, current, pause=timedelta(0))
        raise ReconcileFailed("somebody else has decided one of these submissions: nothing written") from error


def _find_pause(runtime: Runtime, account_id: UUID, error: AccountRefused | ProviderUnavailable) -> timedelta:
    """Return the time until the next run. A refused key also holds the submissions, longer each time."""
    if isinstance(error, KeyRefused):
        with transaction(runtime.sessions) as session:
            return back_off(session, account_id, error, policy=ACCOUNT_BACKED_OFF, reason=error.reason)
    return max(FAILED_PAUSE, min(error.retry_after or FAILED_PAUSE, LONGEST_WISH))


def _give_back(runtime: Runtime, current: ReconciliationRun, *, pause: timedelta) -> None:
    with transaction(runtime.sessions) as session:
        transitions.runs.finish_reconcile(session, current.account_id, current.claim, pause=pause)
    runtime.waker.wake()


def _run(runtime: Runtime, current: ReconciliationRun) -> str:
    listing = read_list(runtime, current)
    since, candidates = read_candidates(runtime, current, listing)
    assigned = _assign_named(runtime, current, listing, [each for each in candidates if each.origin is not None])
    candidates = [each for each in candidates if each.origin is None]
    posted = (*current.select_unconfirmed(), *since)
    unconfirmed = [each for each in posted if each.prediction_id not in assigned.adopted]
    found = _match_unconfirmed(current, listing, unconfirmed, candidates)
    foreign = current.find_foreign(listing)
    unmatched = [*found.unmatched, *(each for each in candidates if each.input is None)]
    restored = _resolve_restore(runtime, current, listing, unmatched=unmatched, foreign=foreign)
    rest = found.unmatched if restored is None else restored.strangers
    late, strangers = _match_not_found(current, listing, rest, known=assigned.duplicates)
    kept = _assign_named(runtime, current, listing, late)
    found.unmatched = [*strangers, *assigned.strangers, *(restored.undecidable if restored is not None else [])]
    found.reports_unknown = restored is None or restored.is_settled
    if foreign:
        log_foreign_list(runtime, current.account_id, sorted(foreign - {SWEPT}), once=False)
    with transaction(runtime.sessions) as session:
        summary, new = _write(runtime, session, current, listing, found=found, foreign=foreign)
        summary += kept.describe("found late") + assigned.describe("by their webhooks")
        if restored is not None and (held_at := current.ticket.restored_at):
            summary += f"; {conclude_restore(session, current.account_id, restored, held_at=held_at)}"
    for provider_id in new:
        log.warning("account.unknown_prediction", account_id=str(current.account_id), provider_id=provider_id)
    runtime.waker.wake()
    return summary


def _match_unconfirmed(
    current: ReconciliationRun, listing: Listing, unconfirmed: Sequence[Submission], candidates: Sequence[Candidate]
) -> _RunFindings:
    """First match submissions that the list reaches. Older submissions, posted before the list begins, get the rest."""
    reached = [each for each in unconfirmed if listing.reaches(each, current.clocks)]
    found = match_submissions(reached, candidates, clocks=current.clocks)
    unreached = [each for each in unconfirmed if not listing.reaches(each, current.clocks)]
    older = match_submissions(unreached, found.unmatched, clocks=current.clocks)
    return _RunFindings(
        adoptions=[*found.adoptions, *older.adoptions],
        waiting=found.waiting,
        missing=found.missing,
        undecidable=found.undecidable,
        unmatched=older.unmatched,
        unreached=older.missing,
    )


def _match_not_found(
    current: ReconciliationRun, listing: Listing, candidates: Sequence[Candidate], *, known: set[UUID]
) -> tuple[list[Candidate], list[Candidate]]:
    """Match candidates with submissions marked not found; return matches and the rest. Waiting jobs get paid ones."""
    clocks = Clocks(current.clocks.earliest, LATE_ARRIVAL)
    bought = [each for each in candidates if is_bought(listing.unknown[each.provider_id])]
    given_back = [each for each in candidates if not is_bought(listing.unknown[each.provider_id])]
    wanted = match_submissions(current.select_not_found(wanted=True, known=known), bought, clocks=clocks)
    ended = current.select_not_found(wanted=False, known=known)
    others = match_submissions([*wanted.missing, *ended], [*wanted.unmatched, *given_back], clocks=clocks)
    return [current.name(*pair) for pair in (*wanted.adoptions, *others.adoptions)], others.unmatched


def _assign_named(
    runtime: Runtime, current: ReconciliationRun, listing: Listing, named: Sequence[Candidate]
) -> Assignments:
    """Give predictions with a known job their rows: at once, each in its own transaction.

    A prediction identified by its webhook's address goes before all matching and needs no settle time. One that equals
    only a submission marked not found comes last: its job gets it if it was not bought again yet.
    """
    if not named:
        return Assignments()
    renew_claim(runtime, current)
    return assign_named(runtime, current.account_id, named, listing.unknown)


def _resolve_restore(
    runtime: Runtime,
    current: ReconciliationRun,
    listing: Listing,
    *,
    unmatched: Sequence[Candidate],
    foreign: set[UUID],
) -> Restoration | None:
    """Adopt purchases made before a restore; return None if there was no restore.

    Before the settle time nothing is decided: a POST made after the backup may be accepted or listed late.
    """
    ticket = current.ticket
    if ticket.restored_at is None:
        return None
    if ticket.began_at < ticket.restored_at + current.settle_time or SWEPT in foreign:
        return Restoration()
    by_id = listing.unknown
    renew_claim(runtime, current)
    with transaction(runtime.sessions) as session:
        ids = [each.provider_id for each in unmatched]
        # Not `restored_at`: a second pause sets it later than predictions that runs of the first pause left undecided.
        known = queries.restore.filter_strangers(session, current.account_id, ids, before=ticket.restored_to)
        open_jobs = queries.restore.list_open_jobs(session, sorted({each.video_model for each in unmatched}))
    bought = [each for each in unmatched if each.provider_id not in known and is_bought(by_id[each.provider_id])]
    found = match_unknown(bought, open_jobs)
    found.undecidable += adopt_unknown(runtime, current.account_id, found, by_id)
    decided = {each.provider_id for each in (*found.undecidable, *(unmatched for unmatched, _ in found.adoptions))}
    found.strangers = [each for each in unmatched if each.input is not None and each.provider_id not in decided]
    found.is_settled = True
    return found


def _write(
    runtime: Runtime,
    session: Session,
    current: ReconciliationRun,
    listing: Listing,
    *,
    found: _RunFindings,
    foreign: set[UUID],
) -> tuple[str, list[str]]:
    """Write everything, or nothing if another run has begun meanwhile; return the summary and the new unknown
    predictions."""
    lag = 0.0 if foreign else _measure_lag(session, current, listing)
    _adopt(runtime, session, found)
    missing = [each for each in current.select_sought(found.missing) if not each.is_open]
    settled = [each for each in missing if each.posted_at < current.settled_before]
    why = "the provider's list does not show it"
    ours = [each for each in settled if each.prediction_id not in foreign]
    not_found = [each for each in ours if transitions.unconfirmed.mark_not_found(session, each.prediction_id, why=why)]
    unreadable, unreached = current.select_sought(found.undecidable), current.select_sought(found.unreached)
    _leave_to_a_person(session, current, unreadable, why="a candidate's input cannot be read")
    _leave_to_a_person(session, current, unreached, why="the list is too long to be read back to it")
    waiting = {each.prediction_id for each in (*missing, *current.select_sought(found.waiting))}
    waiting -= {each.prediction_id for each in not_found}
    transitions.unconfirmed.postpone_unconfirmed(session, sorted(waiting - foreign), delay=PAUSE)
    transitions.unconfirmed.postpone_unconfirmed(session, sorted(waiting & foreign), delay=FOREIGN_PAUSE)
    is_sweep = current.ticket.sweep_after is not None
    is_ours = SWEPT not in foreign
    unmatched = transitions.runs.insert_unknown_predictions(
        session, [each.as_unknown(current.account_id) for each in found.unmatched if is_ours]
    )
    swept = is_sweep and is_ours and found.reports_unknown
    _finish(session, current, lag=lag, swept=swept, is_foreign=is_sweep and not is_ours)
    summary = (
        f"adopted {len(found.adoptions)}, not found {len(not_found)}, waiting {len(waiting)}, "
        f"for a person {len(unreadable) + len(unreached)}, new unknown predictions {len(unmatched)}"
    )
    return summary, unmatched


def _measure_lag(session: Session, current: ReconciliationRun, listing: Listing) -> float:
    return queries.runs.measure_list_lag(
        session,
        current.account_id,
        listed=listing.shown,
        listed_at=current.ticket.began_at,
        after=max(listing.since + CLOCK_MARGIN, current.ticket.began_at - LAG_WINDOW),
    )


def _finish(session: Session, current: ReconciliationRun, *, lag: float, swept: bool, is_foreign: bool) -> None:
    """Comes last, because the account's row is locked last of all. If the claim is lost, everything is rolled back."""
    pause = PAUSE if current.ticket.restored_at is None else RESTORE_PAUSE
    if not transitions.runs.finish_reconcile(
        session,
        current.account_id,
        current.claim,
        pause=FOREIGN_PAUSE if is_foreign else pause,
        lag_seconds=lag,
        swept_at=current.ticket.began_at if swept else None,
    ):
        raise RunLost("another run took over: nothing written")


def _adopt(runtime: Runtime, session: Session, found: _RunFindings) -> None:
    for submission, candidate in found.adoptions:
        state = transitions.submitting.accept_prediction(
            session,
            submission.prediction_id,
            provider_id=candidate.provider_id,
            provider_created_at=candidate.created_at,
            watch_window=runtime.settings.watch_window,
            adopted=True,
        )
        if state != PredictionState.RENDERING:
            raise AlreadyDecided(f"{submission.prediction_id} was decided meanwhile")


def _leave_to_a_person(
    session: Session, current: ReconciliationRun, undecidable: Sequence[Submission], *, why: str
) -> None:
    ids = [each.prediction_id for each in undecidable]
    transitions.unconfirmed.note_undecidable(session, ids, message=f"{why}: decide by hand")
    for submission in undecidable:
        # Wait as long again as it has waited: inputs that are missing for a moment must not cost ten minutes.
        waited = current.ticket.began_at - submission.posted_at
        delay = max(PAUSE, min(waited, PERSON_PAUSE))
        transitions.unconfirmed.postpone_unconfirmed(session, [submission.prediction_id], delay=delay)
