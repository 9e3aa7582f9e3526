"""What becomes of a surplus: watched to its verdict, its video stored beside the job's, nothing of its job moved.

A surplus was found after it had been called absent or refused, so its job may have been paid for twice. It holds no
slot.
"""

from collections.abc import Callable
from uuid import UUID

import structlog

from models import PredictionState, queries, transitions
from models.db.session import transaction
from models.queries import Surplus
from models.transitions import SurplusTicket
from models.transitions.watching.retention import RETENTION
from rushes.artifacts import StoredVideo, surplus_name
from rushes.runtime import Runtime
from rushes.stale_writes import count_late
from rushes.storing.steps import STORE_LEASE, StoreMoves, StoreStep, describe_files, name_video, remove_files
from rushes.storing.transfer import copy_output, excuse_outages
from rushes.watching.poll import ODD_GRACE, LookFailed, find_objection
from rushes.wavespeed import (
    AccountRefused,
    Prediction,
    PredictionNotFound,
    PredictionStatus,
    ProviderUnavailable,
    classify_failure,
)

log = structlog.get_logger(__name__)

_MOVES = StoreMoves(
    late_renewal="surplus.renew",
    late_outcome="surplus.outcome",
    renew=transitions.renew_surplus_store,
    delay=transitions.delay_surplus_store,
    fail=transitions.fail_surplus_store,
    excuse=transitions.excuse_surplus_store,
)


def tell_surplus(prediction_id: UUID, provider_id: str) -> None:
    """Tell operators that something was bought twice, or may have been."""
    log.error("surplus.found", prediction_id=str(prediction_id), provider_id=provider_id)


def look_at_surplus(runtime: Runtime, prediction_id: UUID, claim: int) -> str:
    """Ask for its result and write a verdict; returns a line for operators. Raises `LookFailed`.

    Takes no lease: its next look was set when this one was published, so a process that dies costs one spacing.
    """
    with transaction(runtime.sessions) as session:
        surplus = queries.find_surplus(session, prediction_id)
    if surplus is None or surplus.claim != claim or surplus.verdict is not None:
        return "stale: nothing to watch"
    if surplus.age_seconds > RETENTION.total_seconds():
        message = f"no verdict within the provider's retention of {RETENTION.days} days"
        return _judge(runtime, prediction_id, surplus, PredictionState.LOST, reason=("retention_ended", message))
    try:
        found = runtime.client.get_prediction(surplus.provider_id)
    except PredictionNotFound as error:
        return _judge_unknown(runtime, prediction_id, surplus, error)
    except (AccountRefused, ProviderUnavailable) as error:
        raise LookFailed(str(error)) from error
    return _read(runtime, prediction_id, surplus, found)


def _judge_unknown(runtime: Runtime, prediction_id: UUID, surplus: Surplus, error: PredictionNotFound) -> str:
    """As for any render: lost only where a 404 has lasted and the list does not show it either."""
    reason = ("lost", f"the provider does not know it any more: {error}")
    try:
        objection = find_objection(runtime, prediction_id, surplus, message=reason[1])
    except (AccountRefused, ProviderUnavailable) as failure:
        raise LookFailed(str(failure)) from failure
    return objection or _doubt(runtime, prediction_id, surplus, PredictionState.LOST, reason=reason)


def _read(runtime: Runtime, prediction_id: UUID, surplus: Surplus, found: Prediction) -> str:
    if found.has_succeeded:
        with transaction(runtime.sessions) as session:
            transitions.judge_surplus(
                session, prediction_id, surplus.claim, verdict=PredictionState.COMPLETED, outputs=found.outputs
            )
        runtime.waker.wake()
        return "completed: its video is stored beside that of its job"
    if not found.is_terminal:
        if found.has_known_status and surplus.odd_seconds is not None:
            with transaction(runtime.sessions) as session:
                transitions.clear_odd(session, prediction_id, surplus.claim)
        return f"{found.status_text or found.status}, {surplus.age_seconds:.0f} s old"
    reason = (classify_failure(found).value, found.error or f"the provider ended it as {found.status}")
    if found.status is PredictionStatus.COMPLETED:
        return _doubt(runtime, prediction_id, surplus, PredictionState.FAILED, reason=reason)
    return _judge(runtime, prediction_id, surplus, PredictionState(found.status.value), reason=reason)


def _doubt(
    runtime: Runtime, prediction_id: UUID, surplus: Surplus, verdict: PredictionState, *, reason: tuple[str, str]
) -> str:
    """An answer that may be a passing mistake: believed once it has lasted."""
    if (surplus.odd_seconds or 0) >= ODD_GRACE.total_seconds():
        return _judge(runtime, prediction_id, surplus, verdict, reason=reason)
    with transaction(runtime.sessions) as session:
        transitions.note_surplus_odd(session, prediction_id, surplus.claim, message=reason[1])
    return f"odd: {reason[1]}"


def _judge(
    runtime: Runtime, prediction_id: UUID, surplus: Surplus, verdict: PredictionState, *, reason: tuple[str, str]
) -> str:
    with transaction(runtime.sessions) as session:
        transitions.judge_surplus(session, prediction_id, surplus.claim, verdict=verdict, reason=reason)
    return f"{verdict}: {reason[1]}"


def store_surplus(runtime: Runtime, prediction_id: UUID, claim: int, *, must_stop: Callable[[], bool]) -> str:
    """Store the video of this claim, once, under a name of its own; returns a line for operators.

    Raises as `copy_output` does, and excuses outages of the database.
    """
    with transaction(runtime.sessions) as session:
        ticket = transitions.begin_surplus_store(session, prediction_id, claim, lease=STORE_LEASE)
    if ticket is None:
        return "stale: nothing to do"
    step = StoreStep(_MOVES, prediction_id, ticket.claim, ticket)
    name = surplus_name(name_video(ticket), purchase=ticket.purchase)
    with excuse_outages(runtime, _MOVES, row_id=prediction_id, claim=ticket.claim, must_stop=must_stop):
        return _finish(runtime, ticket, copy_output(runtime, step, name=name, must_stop=must_stop))


def _finish(runtime: Runtime, ticket: SurplusTicket, stored: StoredVideo) -> str:
    with transaction(runtime.sessions) as session:
        finished = transitions.finish_surplus_store(
            session, ticket.prediction_id, ticket.claim, artifacts=describe_files(stored)
        )
        replaced = transitions.drop_unverified(session, ticket.prediction_id) if finished else []
    remove_files(runtime, replaced)
    if not finished:
        count_late(runtime, "surplus.finish", ticket.prediction_id)
        return "stored, but another worker was first"
    return f"stored {stored.bytes:,} bytes"
