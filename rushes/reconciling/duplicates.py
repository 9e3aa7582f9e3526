"""Handles a duplicate purchase: watches it to its outcome and stores its video next to the job's. Its job stays
unchanged.

A duplicate purchase was found after it had been marked not found or refused, so its job may have been paid for twice.
It holds no slot.
"""

from collections.abc import Callable
from uuid import UUID

import structlog

from models import PredictionState, queries, transitions
from models.db.session import transaction
from models.lifecycle import Reason
from models.queries.duplicates import Duplicate
from models.transitions.storing.duplicates import DuplicateTicket
from models.transitions.watching.retention import RETENTION
from rushes.artifacts import StoredVideo, duplicate_name
from rushes.runtime import Runtime
from rushes.stale_writes import count_stale
from rushes.storing.steps import STORE_LEASE, StoreMoves, StoreStep, describe_files, name_video, remove_files
from rushes.storing.transfer import copy_output, excuse_outages
from rushes.watching.poll import INCONSISTENT_GRACE, CheckFailed, find_objection
from rushes.wavespeed import (
    AccountRefused,
    PredictionNotFound,
    PredictionStatus,
    ProviderPrediction,
    ProviderUnavailable,
    classify_failure,
)

log = structlog.get_logger(__name__)

_MOVES = StoreMoves(
    stale_renewal="duplicate.renew",
    stale_outcome="duplicate.outcome",
    renew=transitions.duplicates.renew_duplicate_store,
    delay=transitions.duplicates.delay_duplicate_store,
    fail=transitions.duplicates.fail_duplicate_store,
    excuse=transitions.duplicates.excuse_duplicate_store,
)


def log_duplicate(prediction_id: UUID, provider_id: str) -> None:
    """Report to operators that a job was bought twice, or may have been."""
    log.error("duplicate.found", prediction_id=str(prediction_id), provider_id=provider_id)


def check_duplicate(runtime: Runtime, prediction_id: UUID, claim: int) -> str:
    """Request its result and write an outcome; return a line for operators. Raises `CheckFailed`.

    Takes no lease: the next check was scheduled when this one was published, so a process that dies costs one spacing.
    """
    with transaction(runtime.sessions) as session:
        duplicate = queries.duplicates.find_duplicate(session, prediction_id)
    if duplicate is None or duplicate.claim != claim or duplicate.outcome is not None:
        return "stale: nothing to watch"
    if duplicate.age_seconds > RETENTION.total_seconds():
        message = f"no outcome within the provider's retention of {RETENTION.days} days"
        return _judge(
            runtime, prediction_id, duplicate, PredictionState.LOST, reason=Reason("retention_ended", message)
        )
    try:
        found = runtime.client.get_prediction(duplicate.provider_id)
    except PredictionNotFound as error:
        return _judge_unknown(runtime, prediction_id, duplicate, error)
    except (AccountRefused, ProviderUnavailable) as error:
        raise CheckFailed(str(error)) from error
    return _read(runtime, prediction_id, duplicate, found)


def _judge_unknown(runtime: Runtime, prediction_id: UUID, duplicate: Duplicate, error: PredictionNotFound) -> str:
    """As for any render: it is lost only if a 404 has lasted and the list does not show it either."""
    reason = Reason("lost", f"the provider does not know it any more: {error}")
    try:
        objection = find_objection(runtime, prediction_id, duplicate, message=reason.message)
    except (AccountRefused, ProviderUnavailable) as failure:
        raise CheckFailed(str(failure)) from failure
    return objection or _end_if_lasting(runtime, prediction_id, duplicate, PredictionState.LOST, reason=reason)


def _read(runtime: Runtime, prediction_id: UUID, duplicate: Duplicate, found: ProviderPrediction) -> str:
    if found.has_succeeded:
        with transaction(runtime.sessions) as session:
            transitions.duplicate_renders.judge_duplicate(
                session, prediction_id, duplicate.claim, outcome=PredictionState.COMPLETED, outputs=found.outputs
            )
        runtime.waker.wake()
        return "completed: its video is stored next to that of its job"
    if not found.is_terminal:
        if found.has_known_status and duplicate.inconsistent_seconds is not None:
            with transaction(runtime.sessions) as session:
                transitions.renders.clear_inconsistent(session, prediction_id, duplicate.claim)
        return f"{found.status_text or found.status}, {duplicate.age_seconds:.0f} s old"
    reason = Reason(classify_failure(found).value, found.error or f"the provider ended it as {found.status}")
    if found.status is PredictionStatus.COMPLETED:
        return _end_if_lasting(runtime, prediction_id, duplicate, PredictionState.FAILED, reason=reason)
    return _judge(runtime, prediction_id, duplicate, PredictionState(found.status.value), reason=reason)


def _end_if_lasting(
    runtime: Runtime, prediction_id: UUID, duplicate: Duplicate, outcome: PredictionState, *, reason: Reason
) -> str:
    """Handle an answer that may be a temporary error: believe it only after it has lasted."""
    if (duplicate.inconsistent_seconds or 0) >= INCONSISTENT_GRACE.total_seconds():
        return _judge(runtime, prediction_id, duplicate, outcome, reason=reason)
    with transaction(runtime.sessions) as session:
        transitions.duplicate_renders.note_duplicate_inconsistent(
            session, prediction_id, duplicate.claim, message=reason.message
        )
    return f"inconsistent: {reason.message}"


def _judge(
    runtime: Runtime, prediction_id: UUID, duplicate: Duplicate, outcome: PredictionState, *, reason: Reason
) -> str:
    with transaction(runtime.sessions) as session:
        transitions.duplicate_renders.judge_duplicate(
            session, prediction_id, duplicate.claim, outcome=outcome, reason=reason
        )
    return f"{outcome}: {reason.message}"


def store_duplicate(runtime: Runtime, prediction_id: UUID, claim: int, *, must_stop: Callable[[], bool]) -> str:
    """Store the video of this claim, once, under its own name; return a line for operators.

    Raises the same errors as `copy_output`, and excuses database outages.
    """
    with transaction(runtime.sessions) as session:
        ticket = transitions.duplicates.begin_duplicate_store(session, prediction_id, claim, lease=STORE_LEASE)
    if ticket is None:
        return "stale: nothing to do"
    step = StoreStep(_MOVES, prediction_id, ticket.claim, ticket)
    name = duplicate_name(name_video(ticket), purchase=ticket.purchase)
    with excuse_outages(runtime, _MOVES, row_id=prediction_id, claim=ticket.claim, must_stop=must_stop):
        return _finish(runtime, ticket, copy_output(runtime, step, name=name, must_stop=must_stop))


def _finish(runtime: Runtime, ticket: DuplicateTicket, stored: StoredVideo) -> str:
    with transaction(runtime.sessions) as session:
        finished = transitions.duplicates.finish_duplicate_store(
            session, ticket.prediction_id, ticket.claim, artifacts=describe_files(stored)
        )
        replaced = transitions.unverified.drop_unverified(session, ticket.prediction_id) if finished else []
    remove_files(runtime, replaced)
    if not finished:
        count_stale(runtime, "duplicate.finish", ticket.prediction_id)
        return "stored, but another worker was first"
    return f"stored {stored.bytes:,} bytes"
