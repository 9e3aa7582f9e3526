"""One store step: copy the video of a completed prediction, check it, make it visible, end the job."""

import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from models import transitions
from models.errors import DatabaseAway
from models.session import transaction
from models.transitions import StoreTicket
from rushes.artifacts import ExpectedVideo, StoredVideo
from rushes.catalog import get_video_model
from rushes.copying import (
    AWAY,
    DOUBTFUL_CODES,
    STORE_LEASE,
    StoreMoves,
    StoreStep,
    copy_output,
    describe_files,
    name_video,
)
from rushes.lateness import count_late
from rushes.runtime import Runtime

AWAY_PAUSE_SECONDS = 1.0
"""How often a step asks for a database that was away."""
AWAY_SECONDS = 1_800.0
"""Well below the limit of a step, so that the watchdog never takes an outage for a stuck worker."""

_MOVES = StoreMoves(
    late_renewal="store.renew",
    late_outcome="store.outcome",
    renew=transitions.renew_store,
    delay=transitions.delay_store,
    fail=transitions.fail_store,
    away_after=STORE_LEASE / 2,
)


def store_job(runtime: Runtime, job_id: UUID, claim: int, *, must_stop: Callable[[], bool]) -> str:
    """Store the video of this claim, once; returns a line for operators.

    `must_stop` tells of a shutdown: the step then hands its claim back at once. Raises as `copy_output` does;
    `DatabaseAway` is told in the rows once the database is back, since the silence of a worker that lives must not
    count as one that the video killed.
    """
    try:
        return _store(runtime, job_id, claim, must_stop=must_stop)
    except DatabaseAway:
        _hand_back_when_it_is_back(runtime, job_id, claim, must_stop=must_stop)
        raise


def _hand_back_when_it_is_back(runtime: Runtime, job_id: UUID, claim: int, *, must_stop: Callable[[], bool]) -> None:
    gives_up_at = time.monotonic() + AWAY_SECONDS
    while not _tell_away(runtime, job_id, claim):
        if must_stop() or time.monotonic() > gives_up_at:
            return
        time.sleep(AWAY_PAUSE_SECONDS)


def _tell_away(runtime: Runtime, job_id: UUID, claim: int) -> bool:
    try:
        with transaction(runtime.sessions) as session:
            if not transitions.delay_store(session, job_id, claim, delay=timedelta(0), reason=AWAY):
                transitions.excuse_store(session, job_id, claim, reason=AWAY)
    except DatabaseAway:
        return False
    runtime.waker.wake()
    return True


def _store(runtime: Runtime, job_id: UUID, claim: int, *, must_stop: Callable[[], bool]) -> str:
    with transaction(runtime.sessions) as session:
        ticket = transitions.begin_store(session, job_id, claim, lease=STORE_LEASE, doubtful=DOUBTFUL_CODES)
    if ticket is None:
        return "stale: nothing to do"
    step = StoreStep(_MOVES, job_id, claim, ticket)
    stored = copy_output(runtime, step, name=name_video(ticket), must_stop=must_stop)
    return _finish(runtime, ticket, claim, stored)


def _finish(runtime: Runtime, ticket: StoreTicket, claim: int, stored: StoredVideo) -> str:
    facts = stored.facts
    surprises = facts.differences(_expected_of(ticket))
    with transaction(runtime.sessions) as session:
        finished = transitions.finish_store(
            session,
            ticket.job_id,
            claim,
            prediction_id=ticket.prediction_id,
            artifacts=describe_files(stored),
            surprises=surprises,
        )
    if not finished:
        count_late(runtime, "store.finish", ticket.job_id)
        return "stored, but another worker was first"
    told = [f"stored {stored.bytes:,} bytes, {facts.seconds:.1f} s, {facts.width}x{facts.height}", *surprises]
    return "; ".join(told)


def _expected_of(ticket: StoreTicket) -> ExpectedVideo:
    model = get_video_model(ticket.video_model)
    return ExpectedVideo(seconds=model.output_seconds(ticket.input), width=model.width, height=model.height)
