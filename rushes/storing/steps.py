"""A store step: the names and rows of its files, and the ways it can end."""

from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import structlog

from models import ArtifactKind, transitions
from models.db.session import transaction
from models.transitions.storing.output_host import OutageEnded
from models.transitions.storing.steps import NewArtifact, StoreTicket
from rushes.artifacts.publish import StoredVideo
from rushes.artifacts.store import duplicate_name, video_name
from rushes.errors import Permanent, Transient
from rushes.runtime import Runtime

log = structlog.get_logger(__name__)

STORE_LEASE = timedelta(seconds=20)
"""Longer than the time between renewals, a connect and a stall, and a request to the provider. After a worker dies, the
step is free again at the end of this lease."""


class StoreDelayed(Transient):
    """The video could not be copied for now; the copy is tried again."""


class StoreFailed(Permanent):
    """The video cannot be stored: the job has failed, although it was paid for."""


class StoreStopped(Transient):
    """The worker is shutting down, or lost its claim: the step is handed back, and nothing was made visible."""


class StoreLost(StoreStopped):
    """Another worker has the step now: there is nothing to hand back."""


def name_video(ticket: StoreTicket) -> str:
    """Return the name of the ticket's video in the store. That of a duplicate purchase is next to its job's."""
    name = video_name(
        job_id=ticket.job_id,
        prompt=str(ticket.input.get("prompt", "")),
        batch=ticket.batch_name,
        number=ticket.number,
        total=ticket.batch_size,
    )
    return duplicate_name(name, purchase=ticket.purchase) if ticket.is_duplicate else name


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


def remove_unverified(runtime: Runtime, ticket: StoreTicket) -> None:
    """Remove the ticket's unverified file, which another has replaced. If that fails, it stays, and does no harm."""
    if ticket.kept_url is not None:
        with suppress(Transient):
            runtime.store.remove(ticket.kept_url)


def note_arrival(runtime: Runtime, account_id: UUID) -> None:
    """Record that the host has given a file: this ends any outage, and waiting downloads continue."""
    with transaction(runtime.sessions) as session:
        ended = transitions.output_host.note_output_reached(session, account_id)
    report_outage_end(runtime, ended)


def report_outage_end(runtime: Runtime, ended: OutageEnded | None) -> None:
    """Log the end of an outage of the output host, if there is one, and wake the dispatcher."""
    if ended is not None:
        log.info("outputs.back", after_seconds=round(ended.seconds), released=ended.released)
        runtime.waker.wake()
