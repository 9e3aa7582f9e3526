"""One poll of a render, and the effect of the provider's answer on its job."""

import random
import time
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from models import PredictionState, transitions
from models.db.session import one_statement, transaction
from models.lifecycle import Reason
from models.queries.watching.renders import WatchedPrediction, find_watched
from models.transitions.watching.renders import EndSeen
from rushes.accounts import end_failures, note_failure
from rushes.errors import Permanent, Transient
from rushes.provider_list.lookup import ForeignList, UndecidedList, find_controls, is_listed, log_foreign_list
from rushes.provider_list.paging import charged_lists
from rushes.runtime import Runtime, count_stale, name_job
from rushes.timing import CHECK_FAILED, RENDER_FAILED
from rushes.wavespeed.answers import AccountRefused, PredictionNotFound, ProviderUnavailable
from rushes.wavespeed.predictions import PredictionStatus, ProviderPrediction
from rushes.wavespeed.render_failures import FailureClass, classify_failure

INCONSISTENT_GRACE = timedelta(seconds=60)
"""How long an inconsistent answer must last before it is believed."""


class CheckFailed(Transient):
    """The provider gave no usable answer: nothing is known, no outcome was written, and the account's checks wait."""


class RenderFailed(Permanent):
    """The render ended without a video. Its job fails or is queued again."""


class _RenderOutcome(NamedTuple):
    state: PredictionState
    reason: Reason
    resubmits: bool


def check_prediction(runtime: Runtime, prediction_id: UUID, claim: int) -> str:
    """Request the result of this prediction and write any change; return a line for operators.

    Raises `CheckFailed`, and `RenderFailed` once it has written that the render ended without a video.
    Takes no lease: a GET is idempotent, and only an outcome under the current claim changes rows.
    """
    with one_statement(runtime.sessions) as session:
        watched = find_watched(session, prediction_id)
    if watched is None or watched.state != PredictionState.RENDERING or watched.claim != claim:
        return "stale: nothing to watch"
    assert watched.provider_id is not None  # noqa: S101 - the database holds it: rendering has a provider id
    asked_at = time.monotonic()
    try:
        found = runtime.client.get_prediction(watched.provider_id)
    except PredictionNotFound as error:
        _note_answer(runtime, watched)
        return _judge_unknown(runtime, prediction_id, watched, error)
    except (AccountRefused, ProviderUnavailable) as error:
        elapsed = time.monotonic() - asked_at
        hold_checks(runtime, watched.account_id, error, unseen=prediction_id, elapsed=elapsed)
        raise CheckFailed(f"{error} ({_name_job(runtime, watched)})") from error
    _note_answer(runtime, watched)
    if found.has_known_status and not found.is_terminal:
        runtime.sightings.note_running(prediction_id, asked_at=asked_at)
    return _judge(runtime, prediction_id, watched, found)


def _name_job(runtime: Runtime, watched: WatchedPrediction) -> str:
    return name_job(runtime, watched.place, watched.video_model, watched.prompt)


def _note_answer(runtime: Runtime, watched: WatchedPrediction) -> None:
    if watched.provider_failures:
        end_failures(runtime, watched.account_id)


def _judge_unknown(runtime: Runtime, prediction_id: UUID, watched: WatchedPrediction, error: PredictionNotFound) -> str:
    message = f"the provider does not know it any more: {error}"
    try:
        objection = _find_objection(runtime, prediction_id, watched, message=message)
    except (AccountRefused, ProviderUnavailable) as failure:
        hold_checks(runtime, watched.account_id, failure)  # it was seen: an early check would put it before all others
        raise CheckFailed(f"{failure} ({_name_job(runtime, watched)})") from failure
    return objection or _end_if_lasting(
        runtime, prediction_id, watched, _RenderOutcome(PredictionState.LOST, Reason("lost", message), False)
    )


def _find_objection(runtime: Runtime, prediction_id: UUID, watched: WatchedPrediction, *, message: str) -> str | None:
    """Return the list's objection to a 404 that has lasted, as a line for operators; None if the list lacks it, too.

    Before the 404 has lasted, returns None without a request. Raises `AccountRefused` and `ProviderUnavailable` if the
    list cannot be read.
    """
    if not watched.provider_id or not watched.created_at or not _is_believed(watched):
        return None
    controls = find_controls(runtime, watched.account_id, prediction_id, created_at=watched.created_at)
    try:
        with charged_lists(runtime, watched.account_id, granted=0) as lists:
            listed = is_listed(
                lists,
                watched.provider_id,
                created_at=watched.created_at,
                by_provider=watched.by_provider,
                controls=controls,
            )
    except ForeignList as foreign:
        log_foreign_list(runtime, watched.account_id, [prediction_id])
        return f"inconsistent: {foreign}"
    except UndecidedList as undecided:
        with transaction(runtime.sessions) as session:
            transitions.renders.renew_inconsistent(session, prediction_id, watched.claim)
        return f"inconsistent: {message}; {undecided}"
    return f"inconsistent: {message}; but its list shows it" if listed else None


def _is_believed(watched: WatchedPrediction) -> bool:
    return (watched.inconsistent_seconds or 0) >= INCONSISTENT_GRACE.total_seconds()


def _judge(runtime: Runtime, prediction_id: UUID, watched: WatchedPrediction, found: ProviderPrediction) -> str:
    if found.has_succeeded:
        return _complete(runtime, prediction_id, watched, found)
    if found.is_terminal:
        outcome = _read_outcome(found)
        if found.status is PredictionStatus.COMPLETED:
            return _end_if_lasting(runtime, prediction_id, watched, outcome)
        return _end(runtime, prediction_id, watched, outcome)
    if not found.has_known_status:
        return _note(
            runtime, prediction_id, watched, f"the provider answers with an unknown status {found.status_text!r}"
        )
    if watched.inconsistent_seconds is not None:
        with transaction(runtime.sessions) as session:
            transitions.renders.clear_inconsistent(session, prediction_id, watched.claim)
    return f"{found.status} {_name_job(runtime, watched)}: {watched.age_seconds or 0:.0f} s old"


def _complete(runtime: Runtime, prediction_id: UUID, watched: WatchedPrediction, found: ProviderPrediction) -> str:
    seen = EndSeen(unseen=runtime.sightings.end(prediction_id), execution=found.execution_time)
    with one_statement(runtime.sessions) as session:
        moved = transitions.renders.complete_prediction(
            session, prediction_id, watched.claim, outputs=found.outputs, seen=seen
        )
    runtime.waker.wake()
    if not moved:
        count_stale(runtime, "watch.outcome", prediction_id)
        return f"completed already: {_name_job(runtime, watched)}"
    return f"completed {_name_job(runtime, watched)}: seen {watched.age_seconds or 0:.1f} s after it was accepted"


def _end(runtime: Runtime, prediction_id: UUID, watched: WatchedPrediction, outcome: _RenderOutcome) -> str:
    delay = RENDER_FAILED.next_delay(watched.attempt, random=random.random) if outcome.resubmits else None
    with transaction(runtime.sessions) as session:
        moved = transitions.renders.end_prediction(
            session,
            prediction_id,
            watched.claim,
            state=outcome.state,
            reason=outcome.reason,
            resubmit_after=delay,
        )
    runtime.waker.wake()
    if not moved:
        count_stale(runtime, "watch.outcome", prediction_id)
        return f"ended already: {_name_job(runtime, watched)}"
    cause = outcome.reason.code if outcome.state is PredictionState.FAILED else outcome.state
    raise RenderFailed(f"{cause}: {outcome.reason.message} ({_name_job(runtime, watched)})")


def _end_if_lasting(runtime: Runtime, prediction_id: UUID, watched: WatchedPrediction, outcome: _RenderOutcome) -> str:
    """Handle an answer that may be a temporary error: believe it only after it has lasted."""
    if _is_believed(watched):
        return _end(runtime, prediction_id, watched, outcome)
    return _note(runtime, prediction_id, watched, outcome.reason.message)


def _note(runtime: Runtime, prediction_id: UUID, watched: WatchedPrediction, message: str) -> str:
    if watched.inconsistent_seconds is None:
        with transaction(runtime.sessions) as session:
            transitions.renders.note_inconsistent(session, prediction_id, watched.claim, message=message)
    return f"inconsistent: {message} ({_name_job(runtime, watched)})"


def find_end_state(found: ProviderPrediction) -> PredictionState:
    """Return the state in which a prediction ends that is over at the provider. Without outputs it has failed."""
    if found.status is PredictionStatus.COMPLETED and not found.outputs:
        return PredictionState.FAILED
    return PredictionState(found.status.value)


def _read_outcome(found: ProviderPrediction) -> _RenderOutcome:
    failure = classify_failure(found)
    spoken = found.error or f"the provider ended it as {found.status}, without a reason"
    message = "completed without an output" if failure is FailureClass.NO_OUTPUT else spoken
    return _RenderOutcome(find_end_state(found), Reason(failure.value, message), failure.is_worth_retrying)


def hold_checks(
    runtime: Runtime,
    account_id: UUID,
    error: AccountRefused | ProviderUnavailable,
    *,
    unseen: UUID | None = None,
    elapsed: float = 0.0,
) -> None:
    """After a check that failed `elapsed` seconds after it began, delay all checks of the account. A refused key and a
    lack of credit also delay its submissions.

    The schedule counts every granted check as made. So this requests an early check of the one render that was not
    seen: it is polled as soon as checks resume.
    """
    with transaction(runtime.sessions) as session:
        if unseen is not None:
            transitions.renders.request_early_checks(session, [unseen])
        failures = transitions.accounts.count_check_failures(session, account_id)
        delay = CHECK_FAILED.next_delay(failures + 1, random=random.random, retry_after=error.retry_after)
        is_held = transitions.accounts.note_check_failure(session, account_id, delay=delay)
        note_failure(session, account_id, error, elapsed=elapsed)
    if is_held:
        runtime.waker.wake()  # else the leader would publish checks from memory until its next turn
