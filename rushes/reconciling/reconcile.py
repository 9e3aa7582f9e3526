"""One pass over an account's doubts: every submission whose answer was lost, against what the provider lists.

It adopts what it finds, and calls a submission absent only after the settle time and with a list that answered. Where
the list fails it waits; it never guesses. What was compared is written in one transaction at the end: whatever dies in
between leaves those doubts as they were. What is sure by the address of a webhook, what a restore has forgotten and
what turns up after it was called absent is written before that, each in a transaction of its own, which the next pass
goes on from.
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
from rushes.provider_list.ownership import tell_foreign
from rushes.reconciling.assign import Settled, settle_named
from rushes.reconciling.evidence import (
    CLOCK_MARGIN,
    SWEPT,
    Listing,
    Pass,
    PassLost,
    ReconcileFailed,
    keep_claim,
    lease_of,
    prepare_pass,
    read_candidates,
    read_list,
)
from rushes.reconciling.matching import Candidate, Clocks, Findings, Submission, match_submissions
from rushes.reconciling.restore import (
    Restoration,
    adopt_orphans,
    conclude_restore,
    is_bought,
    match_orphans,
)
from rushes.retries import LONGEST_WISH
from rushes.runtime import Runtime
from rushes.stale_writes import count_late
from rushes.wavespeed import AccountRefused, ProviderUnavailable

PAUSE = timedelta(seconds=2)
"""Between two passes: a lost answer is looked for again soon."""
FAILED_PAUSE = timedelta(seconds=5)
RESTORE_PAUSE = timedelta(seconds=10)
"""The same, while the account is paused after a restore: each pass reads all that was forgotten."""
PERSON_PAUSE = timedelta(minutes=10)
"""How often at least a doubt that a person must decide is looked at all the same; young ones sooner."""
FOREIGN_PAUSE = timedelta(minutes=1)
"""How often what a list of another account left undecided is looked at."""
LATE_ARRIVAL = timedelta(days=7)
"""How long after a POST a prediction may still turn up that was called absent."""

log = structlog.get_logger(__name__)


class DoubtMoved(ReconcileFailed):
    """What was to be adopted is in doubt no more: what was found may be another's, which would be called absent."""


@dataclass(slots=True)
class _Findings(Findings):
    """The same of a pass."""

    unreached: list[Submission] = field(default_factory=list)  # posted before the list begins, and not met in it
    tells_orphans: bool = True  # False before the settle time of a restore: what no row knows is looked at then


def reconcile_account(runtime: Runtime, account_id: UUID, claim: int) -> str:
    """Make the pass of this claim; returns a line for operators. Raises `ReconcileFailed`."""
    with transaction(runtime.sessions) as session:
        ticket = transitions.begin_reconcile(session, account_id, claim, lease=lease_of(runtime))
        if ticket is None:
            return "stale: nothing to do"
        current = prepare_pass(runtime, session, account_id, claim=claim, ticket=ticket)
    try:
        return _make_pass(runtime, current)
    except PassLost:
        count_late(runtime, "reconcile.pass", account_id)
        raise
    except (AccountRefused, ProviderUnavailable) as error:
        _give_back(runtime, current, pause=max(FAILED_PAUSE, min(error.retry_after or FAILED_PAUSE, LONGEST_WISH)))
        raise ReconcileFailed(str(error)) from error
    except (IntegrityError, DoubtMoved) as error:
        # A direct answer, a person or another pass was first with one of them: the next pass sees that.
        _give_back(runtime, current, pause=timedelta(0))
        raise ReconcileFailed("somebody else has decided one of them meanwhile: nothing written") from error


def _give_back(runtime: Runtime, current: Pass, *, pause: timedelta) -> None:
    with transaction(runtime.sessions) as session:
        transitions.finish_reconcile(session, current.account_id, current.claim, pause=pause)
    runtime.waker.wake()


def _make_pass(runtime: Runtime, current: Pass) -> str:
    listing = read_list(runtime, current)
    since, candidates = read_candidates(runtime, current, listing)
    settled = _settle_named(runtime, current, listing, [each for each in candidates if each.names is not None])
    candidates = [each for each in candidates if each.names is None]
    doubts = [each for each in (*current.select_doubts(), *since) if each.prediction_id not in settled.adopted]
    found = _match_doubts(current, listing, doubts, candidates)
    foreign = current.find_foreign(listing)
    orphans = [*found.orphans, *_unreadable(candidates)]
    restored = _settle_restore(runtime, current, listing, orphans=orphans, foreign=foreign)
    rest = found.orphans if restored is None else restored.strangers
    late, strangers = _match_absent(current, listing, rest, known=settled.surpluses)
    kept = _settle_named(runtime, current, listing, late)
    found.orphans = [*strangers, *settled.strangers, *(restored.undecidable if restored is not None else [])]
    found.tells_orphans = restored is None or restored.is_settled
    if foreign:
        tell_foreign(runtime, current.account_id, sorted(foreign - {SWEPT}), once=False)
    with transaction(runtime.sessions) as session:
        told, new = _write(runtime, session, current, listing, found=found, foreign=foreign)
        told += kept.describe("found late") + settled.describe("by their webhooks")
        if restored is not None and (held_at := current.ticket.restored_at):
            told += f"; {conclude_restore(session, current.account_id, restored, held_at=held_at)}"
    for provider_id in new:
        log.warning("account.orphan", account_id=str(current.account_id), provider_id=provider_id)
    runtime.waker.wake()
    return told


def _match_doubts(
    current: Pass, listing: Listing, doubts: Sequence[Submission], candidates: Sequence[Candidate]
) -> _Findings:
    """What was posted before the list begins takes what the others leave."""
    reached = [each for each in doubts if listing.reaches(each, current.clocks)]
    found = match_submissions(reached, candidates, clocks=current.clocks)
    unreached = [each for each in doubts if not listing.reaches(each, current.clocks)]
    older = match_submissions(unreached, found.orphans, clocks=current.clocks)
    return _Findings(
        adoptions=[*found.adoptions, *older.adoptions],
        waiting=found.waiting,
        missing=found.missing,
        undecidable=found.undecidable,
        orphans=older.orphans,
        unreached=older.missing,
    )


def _match_absent(
    current: Pass, listing: Listing, candidates: Sequence[Candidate], *, known: set[UUID]
) -> tuple[list[Candidate], list[Candidate]]:
    """Whose of those called absent each is, and what is nobody's. Jobs that wait get what was paid for first."""
    clocks = Clocks(current.clocks.earliest, LATE_ARRIVAL)
    bought = [each for each in candidates if is_bought(listing.unknown[each.provider_id])]
    given_back = [each for each in candidates if not is_bought(listing.unknown[each.provider_id])]
    wanted = match_submissions(current.select_absent(wanted=True, known=known), bought, clocks=clocks)
    ended = current.select_absent(wanted=False, known=known)
    others = match_submissions([*wanted.missing, *ended], [*wanted.orphans, *given_back], clocks=clocks)
    return [current.name(*pair) for pair in (*wanted.adoptions, *others.adoptions)], others.orphans


def _settle_named(runtime: Runtime, current: Pass, listing: Listing, named: Sequence[Candidate]) -> Settled:
    """Give those whose job is known their rows: at once, each in a transaction of its own.

    What is ours by the address of its webhook goes before all matching, and needs no settle time. What equals only what
    was called absent comes last: its job gets it where that was not bought again yet.
    """
    if not named:
        return Settled()
    keep_claim(runtime, current)
    return settle_named(runtime, current.account_id, named, listing.unknown)


def _unreadable(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [each for each in candidates if each.input is None]


def _settle_restore(
    runtime: Runtime, current: Pass, listing: Listing, *, orphans: Sequence[Candidate], foreign: set[UUID]
) -> Restoration | None:
    """Adopt what was bought before a restore; None where there was none.

    Before the settle time nothing is decided: a POST of the forgotten time may still be accepted, or not be listed.
    """
    ticket = current.ticket
    if ticket.restored_at is None:
        return None
    if ticket.began_at < ticket.restored_at + current.settle or SWEPT in foreign:
        return Restoration()
    by_id = listing.unknown
    keep_claim(runtime, current)
    with transaction(runtime.sessions) as session:
        ids = [each.provider_id for each in orphans]
        # Not `restored_at`: a second hold moves that past what the passes of the first have found and not decided.
        known = queries.filter_strangers(session, current.account_id, ids, before=ticket.restored_to)
        openings = queries.list_openings(session, sorted({each.video_model for each in orphans}))
    bought = [each for each in orphans if each.provider_id not in known and is_bought(by_id[each.provider_id])]
    found = match_orphans(bought, openings)
    found.undecidable += adopt_orphans(runtime, current.account_id, found, by_id)
    decided = {each.provider_id for each in (*found.undecidable, *(orphan for orphan, _ in found.adoptions))}
    found.strangers = [each for each in orphans if each.input is not None and each.provider_id not in decided]
    found.is_settled = True
    return found


def _write(
    runtime: Runtime, session: Session, current: Pass, listing: Listing, *, found: _Findings, foreign: set[UUID]
) -> tuple[str, list[str]]:
    """All of it or nothing, and nothing where another pass has begun meanwhile; what to tell, and the new orphans."""
    lag = 0.0 if foreign else _measure_lag(session, current, listing)
    _adopt(runtime, session, found)
    missing = [each for each in current.keep_sought(found.missing) if not each.is_open]
    settled = [each for each in missing if each.posted_at < current.settled_before]
    why = "the provider's list does not show it"
    ours = [each for each in settled if each.prediction_id not in foreign]
    absent = [each for each in ours if transitions.mark_absent(session, each.prediction_id, why=why)]
    unreadable, unreached = current.keep_sought(found.undecidable), current.keep_sought(found.unreached)
    _leave_to_a_person(session, current, unreadable, why="a candidate's input cannot be read")
    _leave_to_a_person(session, current, unreached, why="the list is too long to be read back to it")
    waiting = {each.prediction_id for each in (*missing, *current.keep_sought(found.waiting))}
    waiting -= {each.prediction_id for each in absent}
    transitions.postpone_doubts(session, sorted(waiting - foreign), delay=PAUSE)
    transitions.postpone_doubts(session, sorted(waiting & foreign), delay=FOREIGN_PAUSE)
    is_sweep = current.ticket.sweep_after is not None
    is_ours = SWEPT not in foreign
    orphans = transitions.insert_orphans(session, [_as_orphan(current, each) for each in found.orphans if is_ours])
    swept = is_sweep and is_ours and found.tells_orphans
    _finish(session, current, lag=lag, swept=swept, is_foreign=is_sweep and not is_ours)
    told = (
        f"adopted {len(found.adoptions)}, absent {len(absent)}, waiting {len(waiting)}, "
        f"for a person {len(unreadable) + len(unreached)}, new orphans {len(orphans)}"
    )
    return told, orphans


def _measure_lag(session: Session, current: Pass, listing: Listing) -> float:
    return queries.measure_list_lag(
        session,
        current.account_id,
        listed=listing.shown,
        listed_at=current.ticket.began_at,
        after=listing.since + CLOCK_MARGIN,
    )


def _finish(session: Session, current: Pass, *, lag: float, swept: bool, is_foreign: bool) -> None:
    """Last, since the account's row is locked last of all; where the claim is lost, all is taken back."""
    pause = PAUSE if current.ticket.restored_at is None else RESTORE_PAUSE
    if not transitions.finish_reconcile(
        session,
        current.account_id,
        current.claim,
        pause=FOREIGN_PAUSE if is_foreign else pause,
        lag_seconds=lag,
        swept_at=current.ticket.began_at if swept else None,
    ):
        raise PassLost("another pass took over: nothing written")


def _adopt(runtime: Runtime, session: Session, found: _Findings) -> None:
    for submission, candidate in found.adoptions:
        state = transitions.accept_prediction(
            session,
            submission.prediction_id,
            provider_id=candidate.provider_id,
            provider_created_at=candidate.created_at,
            watch_window=runtime.settings.watch_window,
            adopted=True,
        )
        if state != PredictionState.RENDERING:
            raise DoubtMoved(f"{submission.prediction_id} was decided meanwhile")


def _leave_to_a_person(session: Session, current: Pass, undecidable: Sequence[Submission], *, why: str) -> None:
    ids = [each.prediction_id for each in undecidable]
    transitions.note_undecidable(session, ids, message=f"{why}: decide by hand")
    for submission in undecidable:
        # As long again as it has waited: inputs that were missing for a moment must not cost ten minutes.
        waited = current.ticket.began_at - submission.posted_at
        delay = max(PAUSE, min(waited, PERSON_PAUSE))
        transitions.postpone_doubts(session, [submission.prediction_id], delay=delay)


def _as_orphan(current: Pass, candidate: Candidate) -> dict[str, object]:
    return {
        "account_id": current.account_id,
        "provider_id": candidate.provider_id,
        "video_model": candidate.video_model,
        "input": dict(candidate.input) if candidate.input is not None else None,
        "provider_created_at": candidate.created_at,
    }
