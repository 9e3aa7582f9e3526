"""Stores the video of a duplicate purchase next to its job's. The job stays unchanged.

A duplicate purchase was found after it had been marked not found or refused, so its job may have been paid for twice.
"""

from collections.abc import Callable
from uuid import UUID

import structlog

from models import transitions
from models.db.session import transaction
from models.transitions.storing.duplicates import DuplicateTicket
from rushes.artifacts import StoredVideo, duplicate_name
from rushes.runtime import Runtime
from rushes.stale_writes import count_stale
from rushes.storing.steps import STORE_LEASE, StoreMoves, StoreStep, describe_files, name_video, remove_files
from rushes.storing.transfer import copy_output, excuse_outages

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
