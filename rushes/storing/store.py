"""One store step: copy the video of a completed prediction, check it, make it visible, end the job."""

from collections.abc import Callable
from uuid import UUID

from models import transitions
from models.db.session import transaction
from models.transitions.storing.steps import StoreTicket
from rushes.artifacts import ExpectedVideo, StoredVideo
from rushes.catalog import get_video_model
from rushes.runtime import Runtime
from rushes.stale_writes import count_stale
from rushes.storing.steps import STORE_LEASE, describe_files, remove_files
from rushes.storing.transfer import copy_output, excuse_outages


def store_output(runtime: Runtime, prediction_id: UUID, claim: int, *, must_stop: Callable[[], bool]) -> str:
    """Store the video of this claim, once; return a line for operators.

    `must_stop` returns True during a shutdown: the step then hands its claim back at once. Raises the same errors as
    `copy_output`, and excuses database outages.
    """
    # Excuse no outage before the step has begun: the claim may belong to another message's step, which continues.
    with transaction(runtime.sessions) as session:
        ticket = transitions.steps.begin_store(session, prediction_id, claim, lease=STORE_LEASE)
    if ticket is None:
        return "stale: nothing to do"
    with excuse_outages(runtime, ticket, must_stop=must_stop):
        return _finish(runtime, ticket, copy_output(runtime, ticket, must_stop=must_stop))


def _finish(runtime: Runtime, ticket: StoreTicket, stored: StoredVideo) -> str:
    facts = stored.facts
    surprises = facts.differences(_expected_of(ticket))
    with transaction(runtime.sessions) as session:
        finished = transitions.steps.finish_store(
            session,
            ticket.prediction_id,
            ticket.claim,
            artifacts=describe_files(stored),
            surprises=surprises,
        )
        replaced = transitions.unverified.drop_unverified(session, ticket.prediction_id) if finished else []
    remove_files(runtime, replaced)
    if not finished:
        count_stale(runtime, "store.finish", ticket.prediction_id)
        return "stored, but another worker was first"
    parts = [f"stored {stored.bytes:,} bytes, {facts.seconds:.1f} s, {facts.width}x{facts.height}", *surprises]
    return "; ".join(parts)


def _expected_of(ticket: StoreTicket) -> ExpectedVideo:
    model = get_video_model(ticket.video_model)
    return ExpectedVideo(seconds=model.output_seconds(ticket.input), width=model.width, height=model.height)
