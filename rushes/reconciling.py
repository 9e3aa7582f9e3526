"""One pass over an account's doubts: every submission whose answer was lost, against what the provider lists.

It adopts what it finds, and calls a submission absent only after the settle time and with a list that answered. Where
the list fails it waits; it never guesses. What was compared is written in one transaction at the end: whatever dies in
between leaves those doubts as they were. What is sure by the address of a webhook, and what a restore has forgotten, is
written before that, each in a transaction of its own, which the next pass goes on from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import PredictionState, queries, transitions
from models.queries import Posted, Witness
from models.session import transaction
from models.transitions import PassTicket
from rushes.errors import Transient
from rushes.lateness import count_late
from rushes.matching import Candidate, Clocks, Findings, Submission, match_submissions
from rushes.owning import Settled, settle_named
from rushes.pages import read_pages
from rushes.restoring import (
    Restoration,
    adopt_orphans,
    conclude_restore,
    is_bought,
    match_orphans,
)
from rushes.runtime import Runtime
from rushes.surpluses import tell_surplus
from rushes.wavespeed import AccountRefused, Prediction, PredictionNotFound, PredictionPage, ProviderUnavailable
from rushes.webhook_tokens import read_address
from rushes.witnesses import is_ours, tell_foreign

LEASE_MARGIN = timedelta(seconds=10)
"""A pass holds its claim for one request and this, and renews it before each one, however many there are."""
PAUSE = timedelta(seconds=2)
"""Between two passes: a lost answer is looked for again soon."""
FAILED_PAUSE = timedelta(seconds=5)
RESTORE_PAUSE = timedelta(seconds=10)
"""The same, while the account is paused after a restore: each pass reads all that was forgotten."""
PERSON_PAUSE = timedelta(minutes=10)
"""How often at least a doubt that a person must decide is looked at all the same; young ones sooner."""
FOREIGN_PAUSE = timedelta(minutes=1)
"""How often what a list of another account left undecided is looked at."""
CLOCK_MARGIN = timedelta(seconds=5)
UNKNOWN_CLOCK = timedelta(minutes=10)
"""How far apart the clocks may be before any answer has told."""
LATE_ARRIVAL = timedelta(days=7)
"""How long after a POST a prediction may still turn up that was called absent."""
PAGE_LIMIT = 500
SWEPT = UUID(int=2**128 - 1)
"""Stands for the sweep among the predictions that have witnesses: every prediction was born before it."""

log = structlog.get_logger(__name__)


class ReconcileFailed(Transient):
    """The provider did not show its list, or another pass took over: nothing was decided."""


class PassLost(ReconcileFailed):
    """Another pass took over, whose findings count."""


class DoubtMoved(ReconcileFailed):
    """What was to be adopted is in doubt no more: what was found may be another's, which would be called absent."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """What a pass knows before it asks."""

    account_id: UUID
    claim: int
    ticket: PassTicket
    posted: Sequence[Posted]
    clocks: Clocks
    settle: timedelta
    witnesses: Sequence[Witness]

    @property
    def settled_before(self) -> datetime:
        """What was posted before this, and is not in the list now, does not exist."""
        return self.ticket.began_at - self.settle

    @property
    def listed_after(self) -> datetime:
        """The provider's time from which on the list is read."""
        starts = [each.posted_at for each in self.posted]
        if self.ticket.sweep_after is not None:
            starts.append(self.ticket.sweep_after)
        start = min(starts, default=self.ticket.began_at) + self.clocks.earliest
        return min([start, *(each.created_at for each in self.witnesses)])

    def find_foreign(self, listed: Sequence[Prediction]) -> set[UUID]:
        """The doubts, or `SWEPT`, that this list says nothing about, since it shows none of their witnesses."""
        shown = {each.id for each in listed}
        by_id: dict[UUID, list[Witness]] = {}
        for each in self.witnesses:
            by_id.setdefault(each.prediction_id, []).append(each)
        return {prediction_id for prediction_id, witnesses in by_id.items() if not is_ours(witnesses, shown)}

    def select(self, *, absent: bool) -> list[Submission]:
        """Those called absent, or all the others."""
        return [
            _as_submission(each, is_open=each.state == PredictionState.SUBMITTING)
            for each in self.posted
            if (each.state == PredictionState.ABSENT) is absent
        ]

    def select_since(self, posted: Sequence[Posted]) -> list[Submission]:
        """Those that were posted since the pass began: what is theirs may be in the list, though nobody has said so."""
        before = {each.prediction_id for each in self.posted}
        return [_as_submission(each, is_open=True) for each in posted if each.prediction_id not in before]


def _as_submission(posted: Posted, *, is_open: bool) -> Submission:
    return Submission(posted.prediction_id, posted.video_model, posted.input, posted.posted_at, is_open=is_open)


def reconcile_account(runtime: Runtime, account_id: UUID, claim: int) -> str:
    """Make the pass of this claim; returns a line for operators. Raises `ReconcileFailed`."""
    with transaction(runtime.sessions) as session:
        ticket = transitions.begin_reconcile(session, account_id, claim, lease=_lease_of(runtime))
        if ticket is None:
            return "stale: nothing to do"
        current = _prepare(runtime, session, account_id, claim=claim, ticket=ticket)
    try:
        return _make_pass(runtime, current)
    except PassLost:
        count_late(runtime, "reconcile.pass", account_id)
        raise
    except (AccountRefused, ProviderUnavailable) as error:
        _give_back(runtime, current, pause=FAILED_PAUSE)
        raise ReconcileFailed(str(error)) from error
    except (IntegrityError, DoubtMoved) as error:
        # A direct answer, a person or another pass was first with one of them: the next pass sees that.
        _give_back(runtime, current, pause=timedelta(0))
        raise ReconcileFailed("somebody else has decided one of them meanwhile: nothing written") from error


def _give_back(runtime: Runtime, current: _Pass, *, pause: timedelta) -> None:
    with transaction(runtime.sessions) as session:
        transitions.finish_reconcile(session, current.account_id, current.claim, pause=pause)
    runtime.waker.wake()


def _make_pass(runtime: Runtime, current: _Pass) -> str:
    listed = _list_predictions(runtime, current)
    since, candidates = _read_candidates(runtime, current, listed)
    settled = _settle_named(runtime, current, listed, candidates=candidates)
    candidates = [each for each in candidates if each.names is None]
    doubts = [each for each in (*current.select(absent=False), *since) if each.prediction_id not in settled.adopted]
    found = match_submissions(doubts, candidates, clocks=current.clocks)
    restored = _settle_restore(runtime, current, listed, orphans=[*found.orphans, *_unreadable(candidates)])
    patient = Clocks(current.clocks.earliest, LATE_ARRIVAL)
    rest = found.orphans if restored is None else restored.strangers
    gone = [each for each in current.select(absent=True) if each.prediction_id not in settled.surpluses]
    late = match_submissions(gone, rest, clocks=patient)
    late.orphans += [*settled.strangers, *(restored.undecidable if restored is not None else [])]
    if foreign := current.find_foreign(listed):
        tell_foreign(runtime, current.account_id, sorted(foreign - {SWEPT}), once=False)
    with transaction(runtime.sessions) as session:
        told, orphans = _write(runtime, session, current, listed=listed, found=found, late=late)
        told += settled.describe()
        if restored is not None and (held_at := current.ticket.restored_at):
            told += f"; {conclude_restore(session, current.account_id, restored, held_at=held_at)}"
    for submission, candidate in late.adoptions:
        tell_surplus(submission.prediction_id, candidate.provider_id)
    for provider_id in orphans:
        log.warning("account.orphan", account_id=str(current.account_id), provider_id=provider_id)
    runtime.waker.wake()
    return told


def _settle_named(
    runtime: Runtime, current: _Pass, listed: Sequence[Prediction], *, candidates: Sequence[Candidate]
) -> Settled:
    """What is ours by the address of its webhook goes before all matching, and needs no settle time."""
    named = [each for each in candidates if each.names is not None]
    if not named:
        return Settled()
    _keep_claim(runtime, current)
    return settle_named(runtime, current.account_id, named, {each.id: each for each in listed})


def _unreadable(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [each for each in candidates if each.input is None]


def _settle_restore(
    runtime: Runtime, current: _Pass, listed: Sequence[Prediction], *, orphans: Sequence[Candidate]
) -> Restoration | None:
    """Adopt what was bought before a restore; None where there was none.

    Before the settle time nothing is decided: a POST of the forgotten time may still be accepted, or not be listed.
    """
    ticket = current.ticket
    if ticket.restored_at is None:
        return None
    if ticket.began_at < ticket.restored_at + current.settle or SWEPT in current.find_foreign(listed):
        return Restoration()
    by_id = {each.id: each for each in listed}
    _keep_claim(runtime, current)
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


def _prepare(runtime: Runtime, session: Session, account_id: UUID, *, claim: int, ticket: PassTicket) -> _Pass:
    settings = runtime.settings
    slack = timedelta(seconds=settings.list_lag_seconds)
    settle = settings.submit_lease + max(slack, ticket.list_lag + CLOCK_MARGIN)
    offsets = queries.find_offsets(session, account_id)
    if offsets.after_post is None or offsets.after_answer is None:
        clocks = Clocks(-UNKNOWN_CLOCK, settle + UNKNOWN_CLOCK)
    else:
        ahead = max(timedelta(0), offsets.after_answer)
        clocks = Clocks(min(timedelta(0), offsets.after_post) - CLOCK_MARGIN, settle + ahead + CLOCK_MARGIN)
    posted = queries.list_posted(session, account_id)
    witnesses = _call_witnesses(session, account_id, ticket, posted=posted, settle=settle)
    return _Pass(account_id, claim, ticket, posted, clocks, settle, witnesses)


def _call_witnesses(
    session: Session, account_id: UUID, ticket: PassTicket, *, posted: Sequence[Posted], settle: timedelta
) -> list[Witness]:
    """For what this pass may call absent, and for the sweep; only those that the list has had time to show."""
    settled_before = ticket.began_at - settle
    moments = {
        each.prediction_id: each.posted_at
        for each in posted
        if each.state == PredictionState.UNCONFIRMED and each.posted_at < settled_before
    }
    found = queries.list_witnesses(session, account_id, moments, until=settled_before)
    if ticket.sweep_after is None:
        return found
    swept = queries.list_witnesses(session, account_id, {SWEPT: settled_before}, until=settled_before)
    return found + [each for each in swept if each.created_at > ticket.sweep_after]


def _lease_of(runtime: Runtime) -> timedelta:
    return timedelta(seconds=runtime.settings.request_timeout_seconds) + LEASE_MARGIN


def _keep_claim(runtime: Runtime, current: _Pass) -> None:
    with transaction(runtime.sessions) as session:
        if not transitions.renew_reconcile(session, current.account_id, current.claim, lease=_lease_of(runtime)):
            raise PassLost("another pass took over: nothing written")


def _list_predictions(runtime: Runtime, current: _Pass) -> list[Prediction]:
    """Every prediction of the window, each once."""
    found: dict[str, Prediction] = {}

    def ask(*, page: int, created_before: datetime | None) -> PredictionPage:
        _keep_claim(runtime, current)
        after = current.listed_after - CLOCK_MARGIN
        return runtime.client.list_predictions(
            page=page, created_after=after, created_before=created_before, include_inputs=True
        )

    for listed in read_pages(ask, limit=PAGE_LIMIT):
        if listed.unreadable:
            raise ProviderUnavailable(f"{listed.unreadable} entries of the list have no readable id")
        found |= {each.id: each for each in listed.items}
        if listed.is_last:
            return list(found.values())
    raise ProviderUnavailable(f"the list has more than {PAGE_LIMIT} pages for the time in question")


def _read_candidates(
    runtime: Runtime, current: _Pass, listed: Sequence[Prediction]
) -> tuple[list[Submission], list[Candidate]]:
    """Who posted while the list was read, and what no row of ours has."""
    with transaction(runtime.sessions) as session:
        # After the list, and the rows without an id first: so every row that posted what is listed is one or the other.
        since = current.select_since(queries.list_posted(session, current.account_id))
        known = queries.filter_known(session, current.account_id, [each.id for each in listed])
    return since, [_as_candidate(runtime, current, each) for each in listed if each.id not in known]


def _as_candidate(runtime: Runtime, current: _Pass, listed: Prediction) -> Candidate:
    """Where the list shows neither whose it is nor its input, its result is asked for them."""
    shown, names = listed, _read_names(runtime, listed)
    if names is None and listed.inputs is None:
        shown = _look_closer(runtime, current, listed)
        names = _read_names(runtime, shown)
    return Candidate(listed.id, listed.video_model_id, shown.inputs, listed.created_at, names)


def _read_names(runtime: Runtime, shown: Prediction) -> tuple[UUID, UUID] | None:
    return read_address(shown.webhook, secret=runtime.hook_secret) if shown.webhook else None


def _look_closer(runtime: Runtime, current: _Pass, listed: Prediction) -> Prediction:
    _keep_claim(runtime, current)
    try:
        return runtime.client.get_prediction(listed.id)
    except PredictionNotFound:
        return listed


def _write(
    runtime: Runtime, session: Session, current: _Pass, *, listed: Sequence[Prediction], found: Findings, late: Findings
) -> tuple[str, list[str]]:
    """All of it or nothing, and nothing where another pass has begun meanwhile; what to tell, and the new orphans."""
    foreign = current.find_foreign(listed)
    lag = (
        0.0
        if foreign
        else queries.measure_list_lag(
            session,
            current.account_id,
            listed=[each.id for each in listed],
            listed_at=current.ticket.began_at,
            after=current.listed_after,
        )
    )
    _adopt(runtime, session, found=found, late=late)
    settled = [each for each in found.missing if not each.is_open and each.posted_at < current.settled_before]
    why = "the provider's list does not show it"
    ours = [each for each in settled if each.prediction_id not in foreign]
    absent = [each for each in ours if transitions.mark_absent(session, each.prediction_id, why=why)]
    _leave_to_a_person(session, current, found.undecidable)
    waiting = {each.prediction_id for each in (*found.missing, *found.waiting)}
    waiting -= {each.prediction_id for each in absent}
    transitions.postpone_doubts(session, sorted(waiting - foreign), delay=PAUSE)
    transitions.postpone_doubts(session, sorted(waiting & foreign), delay=FOREIGN_PAUSE)
    orphans = transitions.insert_orphans(session, [_as_orphan(current, each) for each in late.orphans if not foreign])
    # Last, since the account's row is locked last of all; where the claim is lost, all of the above is taken back.
    swept = current.ticket.sweep_after is not None
    pause = PAUSE if current.ticket.restored_at is None else RESTORE_PAUSE
    if SWEPT in foreign:
        swept, pause = False, FOREIGN_PAUSE
    if not transitions.finish_reconcile(
        session, current.account_id, current.claim, pause=pause, lag_seconds=lag, swept=swept
    ):
        raise PassLost("another pass took over: nothing written")
    told = (
        f"adopted {len(found.adoptions)}, absent {len(absent)}, waiting {len(waiting)}, "
        f"for a person {len(found.undecidable)}, surplus {len(late.adoptions)}, new orphans {len(orphans)}"
    )
    return told, orphans


def _adopt(runtime: Runtime, session: Session, *, found: Findings, late: Findings) -> None:
    renders = [(*pair, PredictionState.RENDERING) for pair in found.adoptions]
    surpluses = [(*pair, PredictionState.SURPLUS) for pair in late.adoptions]
    for submission, candidate, becomes in (*renders, *surpluses):
        state = transitions.accept_prediction(
            session,
            submission.prediction_id,
            provider_id=candidate.provider_id,
            provider_created_at=candidate.created_at,
            watch_window=runtime.settings.watch_window,
            adopted=True,
        )
        if state != becomes:
            raise DoubtMoved(f"{submission.prediction_id} was decided meanwhile")


def _leave_to_a_person(session: Session, current: _Pass, undecidable: Sequence[Submission]) -> None:
    ids = [each.prediction_id for each in undecidable]
    transitions.note_undecidable(session, ids, message="a candidate's input cannot be read: decide by hand")
    for submission in undecidable:
        # As long again as it has waited: inputs that were missing for a moment must not cost ten minutes.
        waited = current.ticket.began_at - submission.posted_at
        delay = max(PAUSE, min(waited, PERSON_PAUSE))
        transitions.postpone_doubts(session, [submission.prediction_id], delay=delay)


def _as_orphan(current: _Pass, candidate: Candidate) -> dict[str, object]:
    return {
        "account_id": current.account_id,
        "provider_id": candidate.provider_id,
        "video_model": candidate.video_model,
        "input": dict(candidate.input) if candidate.input is not None else None,
        "provider_created_at": candidate.created_at,
    }
