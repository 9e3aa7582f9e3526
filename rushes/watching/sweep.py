"""One check of a page of the provider's list, and its effect on the renders that it shows."""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from models import transitions
from models.db.session import transaction
from models.queries.watching.renders import PageEntry, list_page, measure_sweep_lag
from models.transitions.watching.renders import EndSeen
from rushes.accounts import end_failures
from rushes.provider_list.paging import CountedLists, charged_lists
from rushes.runtime import Runtime, count_stale
from rushes.watching.poll import CheckFailed, hold_checks
from rushes.wavespeed.answers import AccountRefused, PredictionNotFound, ProviderUnavailable
from rushes.wavespeed.predictions import ProviderPrediction

PAGE_LIMIT = 2
"""Pages that one sweep reads at most: it needs a second one only if many listed predictions are not ours."""
LAG_MARGIN_SECONDS = 0.5
ROUNDING_SECONDS = 0.001
UNLIKE_SHARE = 0.05
"""How much our share of a page must change before it is worth a write."""
EARLY_CHECK_QUIET = timedelta(seconds=5)


def sweep_account(runtime: Runtime, account_id: UUID, *, created_after: float, created_before: float) -> str:
    """Read predictions that the provider created between two moments, and write any changes; return a line for
    operators. Raises `CheckFailed`.

    The moments are seconds since 1970 by the provider's clock, both inclusive. Completed renders of ours are recorded
    as completed. Renders of ours that ended otherwise, or are not shown at all, get an early-check request and are
    polled one by one. Other predictions are ignored. Takes no lease, since it only reads from the provider.
    """
    after = datetime.fromtimestamp(created_after - ROUNDING_SECONDS, UTC)
    before = datetime.fromtimestamp(created_before + ROUNDING_SECONDS, UTC)
    began = time.monotonic()
    try:
        with charged_lists(runtime, account_id, granted=1) as lists:
            listed = _read_pages(lists, after=after, before=before)
    except (AccountRefused, ProviderUnavailable) as error:
        with transaction(runtime.sessions) as session:
            ours = list_page(session, account_id, after=after, before=before)
        _meet_failure(runtime, account_id, error, ours=ours, began=began)
        raise CheckFailed(str(error)) from error
    shown = {each.id: each for each in listed}
    with transaction(runtime.sessions) as session:
        ours = list_page(session, account_id, after=after, before=before)
        over = [each for each in ours if (found := shown.get(each.provider_id)) and found.has_succeeded]
        late = [each for each in over if not _complete(runtime, session, each, shown[each.provider_id])]
    if over:
        runtime.waker.wake()  # their slots are free
    if any(each.provider_failures for each in ours):
        end_failures(runtime, account_id)
    for each in late:
        count_stale(runtime, "sweep.outcome", each.prediction_id)
    requested = _request_polls(runtime, account_id, ours=ours, shown=shown)
    lag = _note_lag(runtime, account_id, listed=listed, ours=ours, began=began)
    seen = f"{len(listed)} on the page" + (f", the list is {lag:.1f} s late" if lag else "")
    return f"{len(over) - len(late)} of {len(ours)} completed, {requested} to be polled, {seen}"


def _request_polls(
    runtime: Runtime, account_id: UUID, *, ours: list[PageEntry], shown: dict[str, ProviderPrediction]
) -> int:
    """Request a poll of each render that the page leaves unclear, and note whose predictions the page shows.

    In a separate transaction, because completions lock their rows: two concurrent sweeps would wait for each other.
    """
    with transaction(runtime.sessions) as session:
        unclear = [each for each in ours if _may_have_ended(each, shown.get(each.provider_id))]
        requested = transitions.renders.request_early_checks(
            session, [each.prediction_id for each in unclear], quiet_for=EARLY_CHECK_QUIET
        )
        transitions.lists.note_own_share(session, account_id, shown=list(shown), unlike=UNLIKE_SHARE)
    if requested:
        runtime.waker.wake()
    return requested


def _meet_failure(
    runtime: Runtime,
    account_id: UUID,
    error: AccountRefused | ProviderUnavailable,
    *,
    ours: list[PageEntry],
    began: float,
) -> None:
    """If only the list fails, treat it as late, so that renders are polled one by one. Else delay all checks."""
    if isinstance(error, ProviderUnavailable) and _is_answered(runtime, account_id, ours):
        with transaction(runtime.sessions) as session:
            transitions.lists.note_list_failure(session, account_id, elapsed=time.monotonic() - began)
        end_failures(runtime, account_id)
    else:
        hold_checks(runtime, account_id, error, elapsed=time.monotonic() - began)


def _is_answered(runtime: Runtime, account_id: UUID, ours: list[PageEntry]) -> bool:
    """Whether the provider answers a request for the result of one of them."""
    if not ours:
        return False
    with transaction(runtime.sessions) as session:
        transitions.lists.owe_requests(session, account_id, count=1)
    try:
        runtime.client.get_prediction(ours[0].provider_id)
    except PredictionNotFound:
        return True
    except (AccountRefused, ProviderUnavailable):
        return False
    return True


def _complete(runtime: Runtime, session: Session, entry: PageEntry, found: ProviderPrediction) -> bool:
    return transitions.renders.complete_prediction(
        session,
        entry.prediction_id,
        entry.claim,
        outputs=found.outputs,
        seen=EndSeen(unseen=runtime.sightings.end(entry.prediction_id), execution=found.execution_time),
    )


def _read_pages(lists: CountedLists, *, after: datetime, before: datetime) -> list[ProviderPrediction]:
    """Return the listed predictions, newest first."""
    listed: list[ProviderPrediction] = []
    for number in range(1, PAGE_LIMIT + 1):
        page = lists.list_predictions(page=number, created_after=after, created_before=before)
        listed += page.items
        if page.is_last:
            break
    return listed


def _may_have_ended(entry: PageEntry, found: ProviderPrediction | None) -> bool:
    """Whether a poll will show more: it ended without a file, has an unknown status, or is on no page that was read."""
    if found is None:
        return entry.should_show
    return (found.is_terminal or not found.has_known_status) and not found.has_succeeded


def _note_lag(
    runtime: Runtime, account_id: UUID, *, listed: list[ProviderPrediction], ours: list[PageEntry], began: float
) -> float:
    """Measure how many seconds the list was late, from renders that it shows as running although we knew their end."""
    rendering = {each.provider_id for each in ours}
    running = [each.id for each in listed if not each.is_terminal and each.id not in rendering]
    if not running:
        return 0.0
    with transaction(runtime.sessions) as session:
        elapsed = time.monotonic() - began
        lag = measure_sweep_lag(session, account_id, running=running, elapsed=elapsed)
        if lag <= LAG_MARGIN_SECONDS:
            return 0.0
        transitions.lists.note_sweep_lag(session, account_id, seconds=lag)
    return lag
