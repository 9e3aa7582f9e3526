"""The evidence of one reconciliation run: its rows before the first request, and the provider's list."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from models import PredictionState, queries, transitions
from models.db.session import transaction
from models.queries.reconciling import ControlPrediction, OpenJob, Posted
from models.tables.base import new_id
from models.transitions.reconciling.runs import SWEEP_PAUSE, RunTicket
from models.transitions.watching.retention import RETENTION, SEARCH
from rushes.errors import Transient
from rushes.provider_list.lookup import is_ours
from rushes.provider_list.paging import read_pages
from rushes.reconciling.matching import CLOCK_MARGIN, Clocks, canonical, find_clocks
from rushes.runtime import Runtime
from rushes.wavespeed.answers import PredictionNotFound, ProviderUnavailable
from rushes.wavespeed.callback_urls import Origin, read_address
from rushes.wavespeed.predictions import PredictionPage, ProviderPrediction

LEASE_MARGIN = timedelta(seconds=10)
"""A run holds its claim for one request plus this margin, and renews it before each request."""
PAGE_LIMIT = 1_000
"""A run reads at most this many pages. The list is complete back to the end of the last one; nothing older is decided
by it."""
SWEEP_OVERLAP = timedelta(minutes=15)
"""How far a sweep reads back before the start of the previous one: `list_lag_seconds` is at most ten minutes."""
RESTORE_MARGIN = timedelta(hours=1)
"""How far the sweep after a restore reads back before the last claim of submissions in the restored rows."""
SEARCH_GROWTH = 1.5
"""A submission marked not found is searched for again whenever its age has grown by this factor."""

log = structlog.get_logger(__name__)


class ReconcileFailed(Transient):
    """The provider did not show its list, or another run took over: nothing was decided."""


class RunLost(ReconcileFailed):
    """Another run took over, and its findings count."""


class FoundPurchase(NamedTuple):
    """A prediction that was bought for this job. `prediction_id` is the row that posted it, if known."""

    job_id: UUID
    prediction_id: UUID | None
    found: ProviderPrediction


@dataclass(frozen=True, slots=True)
class ReconciliationRun:
    """The state of a run before its first request."""

    account_id: UUID
    claim: int
    ticket: RunTicket
    posted: Sequence[Posted]
    sought: Mapping[UUID, Posted]  # what it searches for; it may adopt for the others, but decides nothing else on them
    clocks: Clocks
    settled_before: datetime  # a submission posted before this that the list does not show now does not exist there
    swept_after: datetime | None  # it also sweeps for unknown predictions younger than this, by the provider's clock
    controls: Sequence[ControlPrediction]
    sweep_controls: Sequence[ControlPrediction]

    @property
    def listed_after(self) -> datetime:
        """The start of the list to read, by the provider's clock: the oldest submission that this run searches for.

        The sweeps cover those marked not found. A later run searches for the other unconfirmed submissions: otherwise
        every run would read back to the oldest of the week.
        """
        start = min((each.posted_at for each in self.sought.values()), default=self.ticket.began_at)
        starts = [start + self.clocks.earliest, *(each.created_at for each in (*self.controls, *self.sweep_controls))]
        if self.swept_after is not None:
            starts.append(self.swept_after)
        return min(starts) - CLOCK_MARGIN


@dataclass(frozen=True, slots=True)
class Listing:
    """The provider's list from `since` on, by the provider's clock, and what the rows said after it was read."""

    since: datetime
    shown: Collection[str]
    named: Sequence[FoundPurchase]  # no row has them, but the address of their webhook is one of ours
    candidates: Sequence[ProviderPrediction]  # all others that no row has
    posted_since: Sequence[Posted]  # since the run began; the list may show their predictions before any answer does
    open_jobs: Sequence[OpenJob]  # after a restore
    strangers: Collection[str]  # after a restore: known before it, and nobody's

    def reaches(self, submission: Posted, clocks: Clocks) -> bool:
        """Whether the list goes back to the time of this submission."""
        return submission.posted_at + clocks.earliest - CLOCK_MARGIN >= self.since

    def find_foreign(self, controls: Iterable[ControlPrediction]) -> set[UUID]:
        """Return the submissions about which this list proves nothing: it reaches back to some of their control
        predictions, but shows none of them."""
        by_id: dict[UUID, list[ControlPrediction]] = {}
        for each in controls:
            if each.created_at >= self.since:
                by_id.setdefault(each.prediction_id, []).append(each)
        return {prediction_id for prediction_id, known in by_id.items() if not is_ours(known, self.shown)}

    def is_foreign(self, run: ReconciliationRun) -> bool:
        """Whether this list proves nothing to the run's sweep. Without control predictions of its own, the sweep relies
        on those of the submissions."""
        reached = any(each.created_at >= self.since for each in run.sweep_controls)
        return bool(self.find_foreign(run.sweep_controls if reached else run.controls))


def lease_of(runtime: Runtime) -> timedelta:
    """The lease of a run: it must renew its claim for the next request within this time."""
    return timedelta(seconds=runtime.settings.request_timeout_seconds) + LEASE_MARGIN


def renew_claim(runtime: Runtime, run: ReconciliationRun) -> None:
    """Renew the run's claim. Raises `RunLost`."""
    with transaction(runtime.sessions) as session:
        if not transitions.runs.hold_next_run(session, run.account_id, run.claim, pause=lease_of(runtime)):
            raise RunLost("another run took over: nothing written")


def prepare_run(
    runtime: Runtime, session: Session, account_id: UUID, *, claim: int, ticket: RunTicket
) -> ReconciliationRun:
    """Read the rows for this run."""
    slack = timedelta(seconds=runtime.settings.list_lag_seconds)
    settle_time = runtime.settings.submit_lease + max(slack, ticket.list_lag + CLOCK_MARGIN)
    clocks = find_clocks(*queries.reconciling.find_offsets(session, account_id), settle_time=settle_time)
    posted = queries.reconciling.list_posted(session, account_id)
    sought = _find_sought(posted, clocks)
    not_found = [each.posted_at for each in posted if each.state == PredictionState.NOT_FOUND]
    sweep_start = find_sweep_start(ticket, not_found)
    settled = ticket.began_at - settle_time
    find_controls = partial(queries.reconciling.list_controls, session, account_id, until=settled)
    unconfirmed = [each for each in sought if each.state == PredictionState.UNCONFIRMED and each.posted_at < settled]
    swept = find_controls({new_id(): settled}) if sweep_start is not None else []
    return ReconciliationRun(
        account_id=account_id,
        claim=claim,
        ticket=ticket,
        posted=posted,
        sought={each.prediction_id: each for each in sought},
        clocks=clocks,
        settled_before=settled,
        swept_after=sweep_start + clocks.earliest if sweep_start is not None else None,
        controls=find_controls({each.prediction_id: each.posted_at for each in unconfirmed}),
        sweep_controls=[each for each in swept if sweep_start is not None and each.created_at > sweep_start],
    )


def find_sweep_start(ticket: RunTicket, not_found: Iterable[datetime]) -> datetime | None:
    """Return the time, by our clock, from which this run sweeps for unknown predictions; None if it does not sweep.

    `not_found` are the POSTs of submissions marked not found. The list may show them late. So the sweep reads back to
    each of them whenever its age has grown by half, and once more before the list drops it. Not after a restore: the
    whole list since the restored state must then be read.
    """
    now, swept_at = ticket.began_at, ticket.swept_at
    kept_since = now - RETENTION
    if ticket.restored_at is not None:
        starts = [swept_at and swept_at - SWEEP_OVERLAP, ticket.restored_to and ticket.restored_to - RESTORE_MARGIN]
        return max(kept_since, min(filter(None, starts), default=kept_since))
    if swept_at is None:
        return max(kept_since, ticket.first_posted_at or kept_since)
    if now - swept_at <= SWEEP_PAUSE:
        return None
    late = [each for each in not_found if each > kept_since and _is_searched_again(each, since=swept_at, now=now)]
    return max(kept_since, min([swept_at - SWEEP_OVERLAP, *late]))


def _is_searched_again(posted_at: datetime, *, since: datetime, now: datetime) -> bool:
    def count_growths(age: timedelta) -> int:
        return math.floor(math.log(max(1.0, age.total_seconds()), SEARCH_GROWTH))

    ends = posted_at + SEARCH
    return count_growths(now - posted_at) > count_growths(since - posted_at) or since < ends <= now


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


def read_list(runtime: Runtime, run: ReconciliationRun) -> Listing:
    """Read the window of this run, or the latest `PAGE_LIMIT` pages of it, and then the rows once more.

    Raises `ProviderUnavailable`.
    """
    since, shown, unknown = _read_pages(runtime, run)
    with transaction(runtime.sessions) as session:
        # Read after the list, rows without an id first. So each row that posted a listed prediction is in one or both.
        posted = queries.reconciling.list_posted(session, run.account_id)
        known = queries.reconciling.filter_known(session, run.account_id, list(unknown))
        candidates = [each for each in unknown.values() if each.id not in known]
        open_jobs, strangers = _read_restored(session, run, candidates)
    before = {each.prediction_id for each in run.posted}
    posted_since = [each for each in posted if each.prediction_id not in before]
    identified = [_identify(runtime, run, each) for each in candidates]
    return Listing(
        since=since,
        shown=shown,
        named=[each for each in identified if isinstance(each, FoundPurchase)],
        candidates=[each for each in identified if isinstance(each, ProviderPrediction)],
        posted_since=[each._replace(is_open=True) for each in posted_since],
        open_jobs=open_jobs,
        strangers=strangers,
    )


def _read_pages(runtime: Runtime, run: ReconciliationRun) -> tuple[datetime, set[str], dict[str, ProviderPrediction]]:
    """Return how far the list goes back, all its ids, and the predictions that no row had when their page was read.

    Only these are kept, because a long list must fit into memory.
    """

    def ask(*, page: int, created_before: datetime | None) -> PredictionPage:
        renew_claim(runtime, run)
        return runtime.client.list_predictions(
            page=page, created_after=run.listed_after, created_before=created_before, include_inputs=True
        )

    shown: set[str] = set()
    unknown: dict[str, ProviderPrediction] = {}
    oldest = run.ticket.began_at
    for page in read_pages(ask, limit=PAGE_LIMIT):
        if page.unreadable:
            raise ProviderUnavailable(f"{page.unreadable} entries of the list have no readable id")
        ids = [each.id for each in page.items]
        with transaction(runtime.sessions) as session:
            known = queries.reconciling.filter_known(session, run.account_id, ids)
        shown.update(ids)
        unknown |= {each.id: each for each in page.items if each.id not in known}
        oldest = min([oldest, *(each.created_at for each in page.items if each.created_at)])
        if page.is_last:
            return run.listed_after, shown, unknown
    if run.ticket.restored_at is not None and run.swept_after is not None and oldest > run.swept_after - CLOCK_MARGIN:
        raise ProviderUnavailable(f"the list has more than {PAGE_LIMIT} pages for the time since the restored state")
    log.warning("reconcile.list_cut", account_id=str(run.account_id), wanted=run.listed_after, read_to=oldest)
    return oldest, shown, unknown


def _read_restored(
    session: Session, run: ReconciliationRun, candidates: Sequence[ProviderPrediction]
) -> tuple[Sequence[OpenJob], set[str]]:
    if run.ticket.restored_at is None:
        return (), set()
    open_jobs = queries.reconciling.list_open_jobs(session, sorted({each.video_model_id for each in candidates}))
    # Not `restored_at`: a second pause sets it later than predictions that runs of the first pause left undecided.
    before, ids = run.ticket.restored_to, [each.id for each in candidates]
    return open_jobs, queries.reconciling.filter_strangers(session, run.account_id, ids, before=before)


def _identify(
    runtime: Runtime, run: ReconciliationRun, listed: ProviderPrediction
) -> FoundPurchase | ProviderPrediction:
    """Return whose purchase it is, by the address of its webhook; else the prediction with its input.

    If the list shows neither, ask for the result to get them.
    """
    shown, origin = listed, _read_origin(runtime, listed)
    if origin is None and listed.inputs is None:
        renew_claim(runtime, run)
        with suppress(PredictionNotFound):
            shown = runtime.client.get_prediction(listed.id)
        origin = _read_origin(runtime, shown)
    if origin is not None:
        return FoundPurchase(origin.job_id, origin.prediction_id, listed)
    return replace(listed, inputs=shown.inputs)


def _read_origin(runtime: Runtime, shown: ProviderPrediction) -> Origin | None:
    return read_address(shown.webhook, secret=runtime.hook_secret) if shown.webhook else None
