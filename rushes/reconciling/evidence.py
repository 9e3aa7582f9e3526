"""The evidence of one reconciliation run: its rows before the first request, and the provider's list."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from models import PredictionState, queries, transitions
from models.db.session import transaction
from models.queries.reconciling.runs import ControlPrediction, Posted
from models.transitions.reconciling.runs import RunTicket
from rushes.errors import Transient
from rushes.provider_list.lookup import is_ours
from rushes.provider_list.paging import read_pages
from rushes.reconciling.matching import Candidate, Clocks, Submission, canonical
from rushes.runtime import Runtime
from rushes.wavespeed.answers import PredictionNotFound, ProviderUnavailable
from rushes.wavespeed.callback_urls import Origin, read_address
from rushes.wavespeed.predictions import PredictionPage, ProviderPrediction

LEASE_MARGIN = timedelta(seconds=10)
"""A run holds its claim for one request plus this margin, and renews it before each request."""
CLOCK_MARGIN = timedelta(seconds=5)
UNKNOWN_CLOCK = timedelta(minutes=10)
"""How far apart the clocks may be until an answer shows the offset."""
PAGE_LIMIT = 1_000
"""A run reads at most this many pages. The list is complete back to the end of the last one; nothing older is decided
by it."""
SWEPT = UUID(int=2**128 - 1)
"""Represents the sweep among the predictions that have control predictions: every prediction was created before it."""

log = structlog.get_logger(__name__)


class ReconcileFailed(Transient):
    """The provider did not show its list, or another run took over: nothing was decided."""


class RunLost(ReconcileFailed):
    """Another run took over, and its findings count."""


class AlreadyDecided(ReconcileFailed):
    """A submission to be adopted has an outcome by now: the prediction found may belong to another submission."""


@dataclass(slots=True)
class Listing:
    """The provider's list from `since` on, by the provider's clock."""

    since: datetime
    shown: set[str] = field(default_factory=set)
    unknown: dict[str, ProviderPrediction] = field(default_factory=dict)  # no row had them when their page was read

    def reaches(self, submission: Submission, clocks: Clocks) -> bool:
        """Whether the list goes back to the time of this submission."""
        return submission.posted_at + clocks.earliest - CLOCK_MARGIN >= self.since


@dataclass(frozen=True, slots=True)
class ReconciliationRun:
    """The state of a run before its first request."""

    account_id: UUID
    claim: int
    ticket: RunTicket
    posted: Sequence[Posted]
    sought: Sequence[Posted]
    clocks: Clocks
    settle_time: timedelta
    controls: Sequence[ControlPrediction]

    @property
    def settled_before(self) -> datetime:
        """A submission posted before this that the list does not show now does not exist at the provider."""
        return self.ticket.began_at - self.settle_time

    @property
    def listed_after(self) -> datetime:
        """The start of the list to read, by the provider's clock.

        Read back to the oldest submission that this run searches for. The sweeps cover those marked not found. Other
        unconfirmed submissions are left to a later run: otherwise every run would read back to the oldest of the week.
        """
        start = min((each.posted_at for each in self.sought), default=self.ticket.began_at) + self.clocks.earliest
        if (swept_after := self.swept_after) is not None:
            start = min(start, swept_after)
        return min([start, *(each.created_at for each in self.controls)]) - CLOCK_MARGIN

    @property
    def swept_after(self) -> datetime | None:
        """The start of this run's sweep, by the provider's clock; None if it does not sweep."""
        return self.ticket.sweep_after + self.clocks.earliest if self.ticket.sweep_after is not None else None

    def find_foreign(self, listing: Listing) -> set[UUID]:
        """Return the unconfirmed submissions, or `SWEPT`, about which this list proves nothing: it reaches back to some
        of their control predictions, but shows none of them.

        If the list is foreign to an unconfirmed submission, it is also foreign to a sweep that has no control
        predictions of its own.
        """
        by_id: dict[UUID, list[ControlPrediction]] = {}
        for each in self.controls:
            if each.created_at >= listing.since:
                by_id.setdefault(each.prediction_id, []).append(each)
        foreign = {prediction_id for prediction_id, called in by_id.items() if not is_ours(called, listing.shown)}
        return foreign if not foreign or SWEPT in by_id else foreign | {SWEPT}

    def select_unconfirmed(self) -> list[Submission]:
        """Select submissions that still wait for their answer, and submissions with a lost answer."""
        unconfirmed = [each for each in self.posted if each.state != PredictionState.NOT_FOUND]
        return [_as_submission(each, is_open=each.state == PredictionState.SUBMITTING) for each in unconfirmed]

    def select_not_found(self, *, wanted: bool, known: set[UUID]) -> list[Submission]:
        """Select submissions marked not found that are not `known` since; `wanted`: whether their job waits to be
        bought again."""
        not_found = [
            each for each in self.posted if each.state == PredictionState.NOT_FOUND and each.is_wanted is wanted
        ]
        return [_as_submission(each, is_open=False) for each in not_found if each.prediction_id not in known]

    def select_since(self, posted: Sequence[Posted]) -> list[Submission]:
        """Select submissions posted since the run began. The list may show their predictions before any answer does."""
        before = {each.prediction_id for each in self.posted}
        return [_as_submission(each, is_open=True) for each in posted if each.prediction_id not in before]

    def name(self, submission: Submission, candidate: Candidate) -> Candidate:
        """Return the candidate with its owner set."""
        job_id = next(each.job_id for each in self.posted if each.prediction_id == submission.prediction_id)
        return replace(candidate, origin=Origin(submission.prediction_id, job_id))

    def select_sought(self, submissions: Sequence[Submission]) -> list[Submission]:
        """Select those that this run searches for. It may adopt the others, but decides nothing else about them."""
        sought = {each.prediction_id for each in self.sought}
        return [each for each in submissions if each.prediction_id in sought]


def _as_submission(posted: Posted, *, is_open: bool) -> Submission:
    return Submission(posted.prediction_id, posted.video_model, posted.input, posted.posted_at, is_open=is_open)


def lease_of(runtime: Runtime) -> timedelta:
    """The lease of a run: it must renew its claim for the next request within this time."""
    return timedelta(seconds=runtime.settings.request_timeout_seconds) + LEASE_MARGIN


def renew_claim(runtime: Runtime, current: ReconciliationRun) -> None:
    """Renew the run's claim. Raises `RunLost`."""
    with transaction(runtime.sessions) as session:
        if not transitions.runs.renew_reconcile(session, current.account_id, current.claim, lease=lease_of(runtime)):
            raise RunLost("another run took over: nothing written")


def prepare_run(
    runtime: Runtime, session: Session, account_id: UUID, *, claim: int, ticket: RunTicket
) -> ReconciliationRun:
    """Read the rows for this run."""
    settings = runtime.settings
    slack = timedelta(seconds=settings.list_lag_seconds)
    settle_time = settings.submit_lease + max(slack, ticket.list_lag + CLOCK_MARGIN)
    offsets = queries.runs.find_offsets(session, account_id)
    if offsets.after_post is None or offsets.after_answer is None:
        clocks = Clocks(-UNKNOWN_CLOCK, settle_time + UNKNOWN_CLOCK)
    else:
        provider_lead = max(timedelta(0), offsets.after_answer)
        clocks = Clocks(
            min(timedelta(0), offsets.after_post) - CLOCK_MARGIN, settle_time + provider_lead + CLOCK_MARGIN
        )
    posted = queries.runs.list_posted(session, account_id)
    sought = _find_sought(posted, clocks)
    controls = _choose_controls(session, account_id, ticket, sought=sought, settle_time=settle_time)
    return ReconciliationRun(account_id, claim, ticket, posted, sought, clocks, settle_time, controls)


def _find_sought(posted: Sequence[Posted], clocks: Clocks) -> list[Posted]:
    """Select the due submissions, and older ones with the same input that could take their candidates: the oldest
    submission takes the oldest candidate."""
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


def _choose_controls(
    session: Session, account_id: UUID, ticket: RunTicket, *, sought: Sequence[Posted], settle_time: timedelta
) -> list[ControlPrediction]:
    """Choose control predictions for the submissions that this run may mark not found, and for its sweep; only those
    that the list has had time to show."""
    settled_before = ticket.began_at - settle_time
    moments = {
        each.prediction_id: each.posted_at
        for each in sought
        if each.state == PredictionState.UNCONFIRMED and each.posted_at < settled_before
    }
    found = queries.runs.list_controls(session, account_id, moments, until=settled_before)
    if ticket.sweep_after is None:
        return found
    swept = queries.runs.list_controls(session, account_id, {SWEPT: settled_before}, until=settled_before)
    return found + [each for each in swept if each.created_at > ticket.sweep_after]


def read_list(runtime: Runtime, current: ReconciliationRun) -> Listing:
    """Read the window of this run, or the latest `PAGE_LIMIT` pages of it. Raises `ProviderUnavailable`."""
    listing = Listing(current.listed_after)

    def ask(*, page: int, created_before: datetime | None) -> PredictionPage:
        renew_claim(runtime, current)
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


def _note_page(runtime: Runtime, current: ReconciliationRun, listing: Listing, page: PredictionPage) -> None:
    """Keep entries only if no row of ours has them: a long list must fit into memory."""
    ids = [each.id for each in page.items]
    with transaction(runtime.sessions) as session:
        known = queries.runs.filter_known(session, current.account_id, ids)
    listing.shown.update(ids)
    listing.unknown |= {each.id: each for each in page.items if each.id not in known}


def read_candidates(
    runtime: Runtime, current: ReconciliationRun, listing: Listing
) -> tuple[list[Submission], list[Candidate]]:
    """Return submissions posted since the run began, and listed predictions that no row of ours has."""
    with transaction(runtime.sessions) as session:
        # Read after the list, rows without an id first. So each row that posted a listed prediction is in one or both.
        since = current.select_since(queries.runs.list_posted(session, current.account_id))
        known = queries.runs.filter_known(session, current.account_id, list(listing.unknown))
    unknown = [each for each in listing.unknown.values() if each.id not in known]
    return since, [_as_candidate(runtime, current, each) for each in unknown]


def _as_candidate(runtime: Runtime, current: ReconciliationRun, listed: ProviderPrediction) -> Candidate:
    """Build a candidate. If the list shows neither its owner nor its input, ask for the result to get them."""
    shown, origin = listed, _read_origin(runtime, listed)
    if origin is None and listed.inputs is None:
        shown = _fetch_result(runtime, current, listed)
        origin = _read_origin(runtime, shown)
    return Candidate(listed.id, listed.video_model_id, shown.inputs, listed.created_at, origin)


def _read_origin(runtime: Runtime, shown: ProviderPrediction) -> Origin | None:
    return read_address(shown.webhook, secret=runtime.hook_secret) if shown.webhook else None


def _fetch_result(runtime: Runtime, current: ReconciliationRun, listed: ProviderPrediction) -> ProviderPrediction:
    renew_claim(runtime, current)
    try:
        return runtime.client.get_prediction(listed.id)
    except PredictionNotFound:
        return listed
