"""Copying the output of a claimed store step into the store: a lease kept meanwhile, each way to fail in the rows.

The same for the video of a job and for that of a surplus; what differs is whose rows are moved.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from models import ArtifactKind, transitions
from models.errors import DatabaseAway
from models.session import transaction
from models.transitions import NewArtifact, StoreTicket, SurplusTicket
from rushes.artifacts import (
    DownloadLimits,
    NotAVideo,
    OutputExpired,
    OutputTooLarge,
    StoredVideo,
    store_video,
    video_name,
)
from rushes.errors import Permanent, RushesError, Transient
from rushes.lateness import count_late
from rushes.retrying import STORE_DOUBTED, STORE_FAILED
from rushes.runtime import Runtime

LIMITS = DownloadLimits(connect=timedelta(seconds=5), stall=timedelta(seconds=8), heartbeat=timedelta(seconds=2))
STORE_LEASE = timedelta(seconds=20)
"""Outlasts a heartbeat, a connect and a stall; a worker that dies gives the step back after it."""
AWAY = ("database_away", "the database was away, or stood still, while it was stored")
AWAY_AFTER_SECONDS = STORE_LEASE.total_seconds() / 2
"""A renewal that is refused after longer than this says that the database stood still, not the worker."""
AWAY_PAUSE_SECONDS = 1.0
"""How often a step asks for a database that was away."""
AWAY_SECONDS = 1_800.0
"""Well below the limit of a step, so that the watchdog never takes an outage for a stuck worker."""


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


class _Renew(Protocol):
    def __call__(self, session: Session, row_id: UUID, claim: int, /, *, lease: timedelta) -> bool: ...


class _Delay(Protocol):
    def __call__(
        self, session: Session, row_id: UUID, claim: int, /, *, delay: timedelta, reason: tuple[str, str]
    ) -> bool: ...


class _Tell(Protocol):
    def __call__(self, session: Session, row_id: UUID, claim: int, /, *, reason: tuple[str, str]) -> bool: ...


@dataclass(frozen=True)
class StoreMoves:
    """The moves of one kind of rows that are stored, and the kinds of its late writes."""

    late_renewal: str
    late_outcome: str
    renew: _Renew
    delay: _Delay
    fail: _Tell
    excuse: _Tell


@dataclass(frozen=True)
class StoreStep:
    """A store step that has begun: the row that its moves take, the claim they take, and what it is to fetch."""

    moves: StoreMoves
    row_id: UUID
    claim: int
    ticket: StoreTicket | SurplusTicket


def copy_output(runtime: Runtime, step: StoreStep, *, name: str, must_stop: Callable[[], bool]) -> StoredVideo:
    """Copy the step's output into the store under this name, its lease renewed at each heartbeat.

    Raises `StoreDelayed`, `StoreFailed` or `StoreStopped`, after the rows tell of it; or `DatabaseAway`. A process that
    dies leaves a temporary file that carries its claim, and no more.
    """

    def keep_going() -> None:
        if must_stop():
            raise StoreStopped("the worker is shutting down")
        began = time.monotonic()
        with transaction(runtime.sessions) as session:
            renewed = step.moves.renew(session, step.row_id, step.claim, lease=STORE_LEASE)
        if not renewed and time.monotonic() - began > AWAY_AFTER_SECONDS:
            raise DatabaseAway(AWAY[1])
        if not renewed:
            raise StoreLost("another worker took the step over")

    try:
        return store_video(
            step.ticket.outputs[0],
            store=runtime.store,
            name=name,
            temporary_name=f"{step.ticket.prediction_id}-{step.claim}",
            limits=LIMITS,
            keep_going=keep_going,
        )
    except StoreLost:
        count_late(runtime, step.moves.late_renewal, step.row_id)
        raise
    except StoreStopped:
        reason = ("handed_back", "the worker that stored it was shut down")
        with transaction(runtime.sessions) as session:
            step.moves.delay(session, step.row_id, step.claim, delay=timedelta(0), reason=reason)
        raise
    except (Transient, Permanent) as error:
        raise _give_up_or_delay(runtime, step, error) from error


@contextmanager
def excuse_outages(
    runtime: Runtime, moves: StoreMoves, *, row_id: UUID, claim: int, must_stop: Callable[[], bool]
) -> Iterator[None]:
    """Tell in the rows of a step that the database was away in it, once it is back; `DatabaseAway` is raised on.

    The step is handed back, or its silence excused: that of a worker that lives must not count as one that the video
    killed. A shutdown ends the wait, and so do `AWAY_SECONDS`.
    """
    try:
        yield
    except DatabaseAway:
        gives_up_at = time.monotonic() + AWAY_SECONDS
        while not _tell_away(runtime, moves, row_id, claim=claim):
            if must_stop() or time.monotonic() > gives_up_at:
                break
            time.sleep(AWAY_PAUSE_SECONDS)
        raise


def _tell_away(runtime: Runtime, moves: StoreMoves, row_id: UUID, *, claim: int) -> bool:
    try:
        with transaction(runtime.sessions) as session:
            if not moves.delay(session, row_id, claim, delay=timedelta(0), reason=AWAY):
                moves.excuse(session, row_id, claim, reason=AWAY)
    except DatabaseAway:
        return False
    runtime.waker.wake()
    return True


def name_video(ticket: StoreTicket | SurplusTicket) -> str:
    """What the video of the ticket's job is called in the store."""
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


def _give_up_or_delay(runtime: Runtime, step: StoreStep, error: Transient | Permanent) -> StoreDelayed | StoreFailed:
    ticket, moves = step.ticket, step.moves
    reason, delay = _plan_retry(error, attempts=ticket.attempt, doubts=ticket.doubts)
    outputs = _ask_for_outputs(runtime, ticket.provider_id) if isinstance(error, Permanent) else ()
    with transaction(runtime.sessions) as session:
        if outputs and list(outputs) != ticket.outputs:
            transitions.refresh_outputs(session, ticket.prediction_id, outputs=outputs)
        if delay is None:
            moved = moves.fail(session, step.row_id, step.claim, reason=reason)
        else:
            moved = moves.delay(session, step.row_id, step.claim, delay=delay, reason=reason)
    if not moved:
        count_late(runtime, moves.late_outcome, step.row_id)
    if delay is None:
        return StoreFailed(str(error))
    return StoreDelayed(f"{error}; tried again in {delay.total_seconds():.0f} s")


def _plan_retry(
    error: Transient | Permanent, *, attempts: int, doubts: int
) -> tuple[tuple[str, str], timedelta | None]:
    """A code and a sentence for this failure, and the wait before another try; None where it was the last."""
    reason = (next((code for kind, code in _CODES if isinstance(error, kind)), "not_stored"), str(error))
    # Cut downloads, dead workers and shutdowns say nothing against the output: only doubts bring its end nearer.
    if isinstance(error, Permanent):
        return reason, STORE_DOUBTED.next_delay(doubts + 1, random=random.random)
    return reason, STORE_FAILED.next_delay(attempts, random=random.random, retry_after=error.retry_after)


def _ask_for_outputs(runtime: Runtime, provider_id: str) -> tuple[str, ...]:
    """The addresses of the outputs as the provider tells them now; none where it does not answer."""
    try:
        return runtime.client.get_prediction(provider_id).outputs
    except RushesError:
        return ()
