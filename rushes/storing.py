"""One store step: copy the video of a completed prediction, check it, make it visible, end the job."""

import random
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from models import ArtifactKind, transitions
from models.errors import DatabaseAway
from models.session import transaction
from models.transitions import NewArtifact, StoreTicket
from rushes.artifacts import (
    DownloadLimits,
    ExpectedVideo,
    NotAVideo,
    OutputExpired,
    OutputTooLarge,
    StoredVideo,
    store_video,
    video_name,
)
from rushes.catalog import get_video_model
from rushes.errors import Permanent, RushesError, Transient
from rushes.lateness import count_late
from rushes.retrying import STORE_DOUBTED, STORE_FAILED
from rushes.runtime import Runtime

LIMITS = DownloadLimits(connect=timedelta(seconds=5), stall=timedelta(seconds=8), heartbeat=timedelta(seconds=2))
STORE_LEASE = timedelta(seconds=20)
"""Outlasts a heartbeat, a connect and a stall; a worker that dies gives the step back after it."""

AWAY_PAUSE_SECONDS = 1.0
"""How often a step asks for a database that was away."""
AWAY_SECONDS = 1_800.0
"""Well below the limit of a step, so that the watchdog never takes an outage for a stuck worker."""
AWAY = ("database_away", "the database was away, or stood still, while it was stored")


class StoreDelayed(Transient):
    """The video could not be copied for now; it is tried again."""


class StoreFailed(Permanent):
    """The video cannot be had: the job has failed, although it was paid for."""


class StoreStopped(Transient):
    """The worker is shutting down, or lost its claim: the step is handed back, nothing was made visible."""


class StoreLost(StoreStopped):
    """Another worker has the step now: there is nothing to hand back."""


_CODES: tuple[tuple[type[Permanent], str], ...] = (
    (OutputExpired, "output_expired"),
    (OutputTooLarge, "output_too_large"),
    (NotAVideo, "not_a_video"),
)
DOUBTFUL_CODES = tuple(code for _, code in _CODES)
"""Codes of delays that are doubts about the output itself."""


def store_job(runtime: Runtime, job_id: UUID, claim: int, *, must_stop: Callable[[], bool]) -> str:
    """Store the video of this claim, once; returns a line for operators.

    `must_stop` tells of a shutdown: the step then hands its claim back at once. Raises one of the classes above,
    after the rows tell of it, or `DatabaseAway`; that is told once the database is back, since the silence of a worker
    that lives must not count as one that the video killed. A process that dies leaves a temporary file that carries its
    claim, and no more.
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

    def keep_going() -> None:
        if must_stop():
            raise StoreStopped("the worker is shutting down")
        began = time.monotonic()
        with transaction(runtime.sessions) as session:
            renewed = transitions.renew_store(session, job_id, claim, lease=STORE_LEASE)
        if not renewed and time.monotonic() - began > STORE_LEASE.total_seconds() / 2:
            raise DatabaseAway(AWAY[1])
        if not renewed:
            raise StoreLost("another worker took the step over")

    try:
        stored = store_video(
            ticket.outputs[0],
            store=runtime.store,
            name=_name_of(ticket),
            temporary_name=f"{ticket.prediction_id}-{claim}",
            limits=LIMITS,
            keep_going=keep_going,
        )
    except StoreLost:
        count_late(runtime, "store.renew", job_id)
        raise
    except StoreStopped:
        _hand_back(runtime, ticket, claim)
        raise
    except (Transient, Permanent) as error:
        raise _give_up_or_delay(runtime, ticket, claim, error) from error
    return _finish(runtime, ticket, claim, stored)


def _name_of(ticket: StoreTicket) -> str:
    return video_name(
        job_id=ticket.job_id,
        prompt=str(ticket.input.get("prompt", "")),
        batch=ticket.batch_name,
        number=ticket.number,
        total=ticket.batch_size,
    )


def describe_files(stored: StoredVideo) -> tuple[NewArtifact, NewArtifact]:
    """The video and its poster, as they are kept in rows."""
    facts = stored.facts
    video = NewArtifact(
        ArtifactKind.VIDEO,
        stored.url,
        stored.bytes,
        stored.sha256,
        container=facts.container,
        seconds=facts.seconds,
        width=facts.width,
        height=facts.height,
        has_audio=facts.has_audio,
    )
    return video, NewArtifact(ArtifactKind.POSTER, stored.poster_url, stored.poster_bytes, stored.poster_sha256)


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


def _hand_back(runtime: Runtime, ticket: StoreTicket, claim: int) -> None:
    with transaction(runtime.sessions) as session:
        transitions.delay_store(
            session,
            ticket.job_id,
            claim,
            delay=timedelta(0),
            reason=("handed_back", "the worker that stored it was shut down"),
        )


def _give_up_or_delay(
    runtime: Runtime, ticket: StoreTicket, claim: int, error: Transient | Permanent
) -> StoreDelayed | StoreFailed:
    reason, delay = plan_retry(error, attempts=ticket.attempt, doubts=ticket.doubts, random=random.random)
    outputs = ask_for_outputs(runtime, ticket.provider_id) if isinstance(error, Permanent) else ()
    with transaction(runtime.sessions) as session:
        if outputs and list(outputs) != ticket.outputs:
            transitions.refresh_outputs(session, ticket.prediction_id, outputs=outputs)
        if delay is None:
            moved = transitions.fail_store(session, ticket.job_id, claim, reason=reason)
        else:
            moved = transitions.delay_store(session, ticket.job_id, claim, delay=delay, reason=reason)
    if not moved:
        count_late(runtime, "store.outcome", ticket.job_id)
    if delay is None:
        return StoreFailed(str(error))
    return StoreDelayed(f"{error}; tried again in {delay.total_seconds():.0f} s")


def plan_retry(
    error: Transient | Permanent, *, attempts: int, doubts: int, random: Callable[[], float]
) -> tuple[tuple[str, str], timedelta | None]:
    """A code and a sentence for this failure, and the wait before another try; None where it was the last."""
    reason = (next((code for kind, code in _CODES if isinstance(error, kind)), "not_stored"), str(error))
    # Cut downloads, dead workers and shutdowns say nothing against the output: only doubts bring its end nearer.
    if isinstance(error, Permanent):
        return reason, STORE_DOUBTED.next_delay(doubts + 1, random=random)
    return reason, STORE_FAILED.next_delay(attempts, random=random, retry_after=error.retry_after)


def ask_for_outputs(runtime: Runtime, provider_id: str) -> tuple[str, ...]:
    """The addresses of the outputs as the provider tells them now; none where it does not answer."""
    try:
        return runtime.client.get_prediction(provider_id).outputs
    except RushesError:
        return ()
