"""A store step: the output to fetch, the rows it changes, and the ways it can end."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from models import ArtifactKind
from models.lifecycle import Reason
from models.transitions.storing.duplicates import DuplicateTicket
from models.transitions.storing.steps import NewArtifact, StoreTicket
from rushes.artifacts import StoredVideo, video_name
from rushes.errors import Permanent, Transient
from rushes.runtime import Runtime

STORE_LEASE = timedelta(seconds=20)
"""Longer than a heartbeat, a connect and a stall, and a request to the provider. After a worker dies, the step is free
again at the end of this lease."""


class StoreDelayed(Transient):
    """The video could not be copied for now; the copy is tried again."""


class StoreFailed(Permanent):
    """The video cannot be stored: the job has failed, although it was paid for."""


class StoreStopped(Transient):
    """The worker is shutting down, or lost its claim: the step is handed back, and nothing was made visible."""


class StoreLost(StoreStopped):
    """Another worker has the step now: there is nothing to hand back."""


class _Renew(Protocol):
    def __call__(self, session: Session, row_id: UUID, claim: int, /, *, lease: timedelta) -> bool: ...


class _Delay(Protocol):
    def __call__(self, session: Session, row_id: UUID, claim: int, /, *, delay: timedelta, reason: Reason) -> bool: ...


class _Record(Protocol):
    def __call__(self, session: Session, row_id: UUID, claim: int, /, *, reason: Reason) -> bool: ...


@dataclass(frozen=True)
class StoreMoves:
    """The transitions for one kind of row that a store step changes, and the kinds of its stale writes."""

    stale_renewal: str
    stale_outcome: str
    renew: _Renew
    delay: _Delay
    fail: _Record
    excuse: _Record


@dataclass(frozen=True)
class StoreStep:
    """A store step that has begun: the row and the claim for its moves, and the ticket with the output to fetch."""

    moves: StoreMoves
    row_id: UUID
    claim: int
    ticket: StoreTicket | DuplicateTicket


def name_video(ticket: StoreTicket | DuplicateTicket) -> str:
    """Return the name in the store of the video of the ticket's job."""
    return video_name(
        job_id=ticket.job_id,
        prompt=str(ticket.input.get("prompt", "")),
        batch=ticket.batch_name,
        number=ticket.number,
        total=ticket.batch_size,
    )


def describe_files(stored: StoredVideo) -> tuple[NewArtifact, NewArtifact]:
    """Return the rows for the video and its poster."""
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


def remove_files(runtime: Runtime, urls: Iterable[str]) -> None:
    """Remove kept files that a video has replaced. A file that cannot be removed stays, and does no harm."""
    for url in urls:
        with suppress(Transient):
            runtime.store.remove(url)
