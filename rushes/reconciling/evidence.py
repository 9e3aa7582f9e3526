"""One pass over an account's doubts: what it knows before it asks, and what the provider's list shows it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from models import PredictionState, queries, transitions
from models.db.session import transaction
from models.queries import Posted, Witness
from models.transitions import PassTicket
from rushes.errors import Transient
from rushes.provider_list.ownership import is_ours
from rushes.provider_list.paging import read_pages
from rushes.reconciling.matching import Candidate, Clocks, Submission, canonical
from rushes.runtime import Runtime
from rushes.wavespeed import Prediction, PredictionNotFound, PredictionPage, ProviderUnavailable
from rushes.wavespeed.callback_urls import read_address

LEASE_MARGIN = timedelta(seconds=10)
"""A pass holds its claim for one request and this, and renews it before each one, however many there are."""
CLOCK_MARGIN = timedelta(seconds=5)
UNKNOWN_CLOCK = timedelta(minutes=10)
"""How far apart the clocks may be before any answer has told."""
PAGE_LIMIT = 1_000
"""More is not read in one pass: the list is whole from where it ended on, and nothing older is decided by it."""
SWEPT = UUID(int=2**128 - 1)
"""Stands for the sweep among the predictions that have witnesses: every prediction was born before it."""

log = structlog.get_logger(__name__)


class ReconcileFailed(Transient):
    """The provider did not show its list, or another pass took over: nothing was decided."""


class PassLost(ReconcileFailed):
    """Another pass took over, whose findings count."""


@dataclass(slots=True)
class Listing:
    """What the provider's list shows from `since` on, which is its time."""

    since: datetime
    shown: set[str] = field(default_factory=set)
    unknown: dict[str, Prediction] = field(default_factory=dict)  # that no row had when their page was read

    def reaches(self, submission: Submission, clocks: Clocks) -> bool:
        """Whether it goes back to where this one would be."""
        return submission.posted_at + clocks.earliest - CLOCK_MARGIN >= self.since


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass knows before it asks."""

    account_id: UUID
    claim: int
    ticket: PassTicket
    posted: Sequence[Posted]
    sought: Sequence[Posted]
    clocks: Clocks
    settle: timedelta
    witnesses: Sequence[Witness]

    @property
    def settled_before(self) -> datetime:
        """What was posted before this, and is not in the list now, does not exist."""
        return self.ticket.began_at - self.settle

    @property
    def listed_after(self) -> datetime:
        """The provider's time from which on the list is read.

        Only what is sought counts: neither what was called absent, for which the sweeps suffice, nor another doubt that
        waits for its next turn, or every pass would read the list back to the oldest of the week.
        """
        start = min((each.posted_at for each in self.sought), default=self.ticket.began_at) + self.clocks.earliest
        if (swept_after := self.swept_after) is not None:
            start = min(start, swept_after)
        return min([start, *(each.created_at for each in self.witnesses)]) - CLOCK_MARGIN

    @property
    def swept_after(self) -> datetime | None:
        """The provider's time from which on this pass sweeps; None where it does not."""
        return self.ticket.sweep_after + self.clocks.earliest if self.ticket.sweep_after is not None else None

    def find_foreign(self, listing: Listing) -> set[UUID]:
        """The doubts, or `SWEPT`, that this list says nothing about: it shows no witness of those that it reaches.

        Where it is foreign to a doubt, a sweep without a witness of its own has none that speaks for it.
        """
        by_id: dict[UUID, list[Witness]] = {}
        for each in self.witnesses:
            if each.created_at >= listing.since:
                by_id.setdefault(each.prediction_id, []).append(each)
        foreign = {prediction_id for prediction_id, called in by_id.items() if not is_ours(called, listing.shown)}
        return foreign if not foreign or SWEPT in by_id else foreign | {SWEPT}

    def select_doubts(self) -> list[Submission]:
        """Those whose answer may come, or was lost."""
        doubts = [each for each in self.posted if each.state != PredictionState.ABSENT]
        return [_as_submission(each, is_open=each.state == PredictionState.SUBMITTING) for each in doubts]

    def select_absent(self, *, wanted: bool, known: set[UUID]) -> list[Submission]:
        """Those called absent, and not `known` since, whose job waits to be bought again, or the others."""
        absent = [each for each in self.posted if each.state == PredictionState.ABSENT and each.is_wanted is wanted]
        return [_as_submission(each, is_open=False) for each in absent if each.prediction_id not in known]

    def select_since(self, posted: Sequence[Posted]) -> list[Submission]:
        """Those that were posted since the pass began: what is theirs may be in the list, though nobody has said so."""
        before = {each.prediction_id for each in self.posted}
        return [_as_submission(each, is_open=True) for each in posted if each.prediction_id not in before]

    def name(self, submission: Submission, candidate: Candidate) -> Candidate:
        """The candidate, and whose it is."""
        job_id = next(each.job_id for each in self.posted if each.prediction_id == submission.prediction_id)
        return replace(candidate, names=(submission.prediction_id, job_id))

    def keep_sought(self, submissions: Sequence[Submission]) -> list[Submission]:
        """Those that this pass was to look for: of the others it adopts what it meets, and decides nothing else."""
        sought = {each.prediction_id for each in self.sought}
        return [each for each in submissions if each.prediction_id in sought]


def _as_submission(posted: Posted, *, is_open: bool) -> Submission:
    return Submission(posted.prediction_id, posted.video_model, posted.input, posted.posted_at, is_open=is_open)


def lease_of(runtime: Runtime) -> timedelta:
    """For how long a pass is another's before its next request is due."""
    return timedelta(seconds=runtime.settings.request_timeout_seconds) + LEASE_MARGIN


def keep_claim(runtime: Runtime, current: Pass) -> None:
    """Renew it. Raises `PassLost`."""
    with transaction(runtime.sessions) as session:
        if not transitions.renew_reconcile(session, current.account_id, current.claim, lease=lease_of(runtime)):
            raise PassLost("another pass took over: nothing written")


def prepare_pass(runtime: Runtime, session: Session, account_id: UUID, *, claim: int, ticket: PassTicket) -> Pass:
    """Read the rows that it is about."""
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
    sought = _find_sought(posted, clocks)
    witnesses = _call_witnesses(session, account_id, ticket, sought=sought, settle=settle)
    return Pass(account_id, claim, ticket, posted, sought, clocks, settle, witnesses)


def _find_sought(posted: Sequence[Posted], clocks: Clocks) -> list[Posted]:
    """What is due, and the older twins that could take what a due one takes: the oldest takes the oldest."""
    sought, within = [], clocks.latest - clocks.earliest
    first: dict[tuple[str, str], datetime] = {}
    for each in reversed(posted):  # the youngest first
        if not each.is_due and each.state != PredictionState.UNCONFIRMED:
            continue
        key = (each.video_model, canonical(each.input))
        if each.is_due or (key in first and first[key] - within <= each.posted_at):
            first[key] = each.posted_at
            sought.append(each)
    return sought


def _call_witnesses(
    session: Session, account_id: UUID, ticket: PassTicket, *, sought: Sequence[Posted], settle: timedelta
) -> list[Witness]:
    """For what this pass may call absent, and for the sweep; only those that the list has had time to show."""
    settled_before = ticket.began_at - settle
    moments = {
        each.prediction_id: each.posted_at
        for each in sought
        if each.state == PredictionState.UNCONFIRMED and each.posted_at < settled_before
    }
    found = queries.list_witnesses(session, account_id, moments, until=settled_before)
    if ticket.sweep_after is None:
        return found
    swept = queries.list_witnesses(session, account_id, {SWEPT: settled_before}, until=settled_before)
    return found + [each for each in swept if each.created_at > ticket.sweep_after]


def read_list(runtime: Runtime, current: Pass) -> Listing:
    """Read the window of this pass, or the latest `PAGE_LIMIT` pages of it. Raises `ProviderUnavailable`."""
    listing = Listing(current.listed_after)

    def ask(*, page: int, created_before: datetime | None) -> PredictionPage:
        keep_claim(runtime, current)
        after = current.listed_after
        return runtime.client.list_predictions(
            page=page, created_after=after, created_before=created_before, include_inputs=True
        )

    oldest = current.ticket.began_at
    for page in read_pages(ask, limit=PAGE_LIMIT):
        if page.unreadable:
            raise ProviderUnavailable(f"{page.unreadable} entries of the list have no readable id")
        _note_page(runtime, current, listing, page)
        oldest = min([oldest, *(each.created_at for each in page.items if each.created_at)])
        if page.is_last:
            return listing
    swept_after = current.swept_after
    if current.ticket.restored_at is not None and swept_after is not None and oldest > swept_after - CLOCK_MARGIN:
        raise ProviderUnavailable(f"the list has more than {PAGE_LIMIT} pages for the time since the restored state")
    log.warning("reconcile.list_cut", account_id=str(current.account_id), wanted=current.listed_after, read_to=oldest)
    listing.since = oldest
    return listing


def _note_page(runtime: Runtime, current: Pass, listing: Listing, page: PredictionPage) -> None:
    """What rows of ours have is not kept: a long list must fit into the memory."""
    ids = [each.id for each in page.items]
    with transaction(runtime.sessions) as session:
        known = queries.filter_known(session, current.account_id, ids)
    listing.shown.update(ids)
    listing.unknown |= {each.id: each for each in page.items if each.id not in known}


def read_candidates(runtime: Runtime, current: Pass, listing: Listing) -> tuple[list[Submission], list[Candidate]]:
    """Who posted while the list was read, and what no row of ours has."""
    with transaction(runtime.sessions) as session:
        # After the list, and the rows without an id first: so every row that posted what is listed is one or the other.
        since = current.select_since(queries.list_posted(session, current.account_id))
        known = queries.filter_known(session, current.account_id, list(listing.unknown))
    unknown = [each for each in listing.unknown.values() if each.id not in known]
    return since, [_as_candidate(runtime, current, each) for each in unknown]


def _as_candidate(runtime: Runtime, current: Pass, listed: Prediction) -> Candidate:
    """Where the list shows neither whose it is nor its input, its result is asked for them."""
    shown, names = listed, _read_names(runtime, listed)
    if names is None and listed.inputs is None:
        shown = _look_closer(runtime, current, listed)
        names = _read_names(runtime, shown)
    return Candidate(listed.id, listed.video_model_id, shown.inputs, listed.created_at, names)


def _read_names(runtime: Runtime, shown: Prediction) -> tuple[UUID, UUID] | None:
    return read_address(shown.webhook, secret=runtime.hook_secret) if shown.webhook else None


def _look_closer(runtime: Runtime, current: Pass, listed: Prediction) -> Prediction:
    keep_claim(runtime, current)
    try:
        return runtime.client.get_prediction(listed.id)
    except PredictionNotFound:
        return listed
