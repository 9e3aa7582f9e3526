"""The ways a store step can end without a video: updates its rows, keeps the bytes that arrived, judges the host."""

import random
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from models import ArtifactKind, queries, transitions
from models.db.session import transaction
from models.lifecycle import Reason
from models.transitions.storing.output_host import OutageEnded
from models.transitions.storing.steps import NewArtifact, StoreTicket
from models.transitions.watching.retention import RETENTION
from rushes.artifacts.errors import DownloadFailed, NotAnAddress, OutputRefused, Suspect
from rushes.artifacts.publish import UnverifiedFile
from rushes.errors import Permanent, RushesError, Transient
from rushes.runtime import Runtime, count_stale
from rushes.storing.next_attempt import (
    UNVERIFIED,
    FailedDownload,
    NextStep,
    is_final_without_download,
    is_host_in_trouble,
    plan_next,
)
from rushes.timing import OUTPUT_PROBED, STORE_FAILED
from rushes.wavespeed.answers import PredictionNotFound

log = structlog.get_logger(__name__)

STORE_LEASE = timedelta(seconds=20)
"""Longer than the time between renewals, a connect and a stall, and a request to the provider. After a worker dies, the
step is free again at the end of this lease."""

_FINAL = NextStep(UNVERIFIED, None)


class StoreDelayed(Transient):
    """The video could not be copied for now; the copy is tried again."""


class StoreFailed(Permanent):
    """The video cannot be stored: the job has failed, although it was paid for."""


class StoreStopped(Transient):
    """The worker is shutting down, or lost its claim: the step is handed back, and nothing was made visible."""


class StoreLost(StoreStopped):
    """Another worker has the step now: there is nothing to hand back."""


class _Answer(NamedTuple):
    """The provider's answer about a prediction with an output that could not be stored."""

    outputs: tuple[str, ...] = ()  # the current addresses; none if the provider does not answer
    is_unknown: bool = False  # the provider does not know the prediction any more


def find_final(runtime: Runtime, ticket: StoreTicket) -> StoreFailed | None:
    """End the step without a third download if the page that came twice is known to be the file."""
    if ticket.rechecks or ticket.kept_suspect != Suspect.DOCUMENT:
        return None
    with transaction(runtime.sessions) as session:
        seen = queries.storing.find_output_evidence(session, ticket.prediction_id, sha256=ticket.kept_sha256)
        if not is_final_without_download(Suspect.DOCUMENT, seen):
            return None
        message = "the same web page arrived twice instead of a video, while other downloads worked"
        moved = _move(session, ticket, _FINAL, message=message)
    _count_if_stale(runtime, ticket, moved=moved)
    return StoreFailed(message)


def after_failure(runtime: Runtime, ticket: StoreTicket, error: DownloadFailed) -> StoreDelayed | StoreFailed:
    """Handle a download for which the host gave no file."""
    refused = isinstance(error, OutputRefused)
    asks = refused or isinstance(error, NotAnAddress) or ticket.age_seconds > RETENTION.total_seconds()
    answer = _ask(runtime, ticket) if asks else _Answer()
    failed = FailedDownload(
        suspect=None,
        same=False,
        is_gone=refused or answer.is_unknown,
        attempt=ticket.attempt,
        age=timedelta(seconds=ticket.age_seconds),
        retry_after=error.retry_after,
    )
    return _move_on(runtime, ticket, failed, message=str(error), outputs=answer.outputs)


def after_unverified(runtime: Runtime, ticket: StoreTicket, file: UnverifiedFile) -> StoreDelayed | StoreFailed:
    """Handle bytes that arrived but that the probe rejects."""
    if ticket.rechecks:
        return fail_recheck(runtime, ticket, file.message)
    answer = _ask(runtime, ticket)
    has_moved = bool(answer.outputs) and _places(answer.outputs) != _places(ticket.outputs)
    failed = FailedDownload(
        suspect=file.suspect,
        same=file.arrived.sha256 == ticket.kept_sha256 and not has_moved,
        is_gone=answer.is_unknown,
        attempt=ticket.attempt,
        age=timedelta(seconds=ticket.age_seconds),
    )
    return _move_on(runtime, ticket, failed, message=file.message, outputs=answer.outputs, file=file)


def _move_on(
    runtime: Runtime,
    ticket: StoreTicket,
    failed: FailedDownload,
    *,
    message: str,
    outputs: tuple[str, ...],
    file: UnverifiedFile | None = None,
) -> StoreDelayed | StoreFailed:
    """In one transaction, delay or end the step, keep the bytes that arrived, and record the state of the host."""
    sha256 = file.arrived.sha256 if file else None
    with transaction(runtime.sessions) as session:
        seen = queries.storing.find_output_evidence(session, ticket.prediction_id, sha256=sha256)
        planned = plan_next(failed, seen, random=random.random)
        if outputs and list(outputs) != ticket.outputs:
            transitions.steps.refresh_outputs(session, ticket.prediction_id, outputs=outputs)
        moved = _move(session, ticket, planned, message=message)
        if moved and file is not None:
            _keep(session, ticket, file, counts=seen.arrived_since_failed and not is_host_in_trouble(seen))
        if moved and failed.blames_host:
            _blame_host(session, ticket, message=message, probes=seen.probes)
    if moved and file and file.url and file.url != ticket.kept_url:
        remove_unverified(runtime, ticket)
    if not failed.blames_host and not seen.sent_to_others:  # bytes that others got, too, may be a placeholder
        note_arrival(runtime, ticket.account_id)
    return _report(runtime, ticket, planned, message=message, moved=moved)


def _move(session: Session, ticket: StoreTicket, planned: NextStep, *, message: str) -> bool:
    reason = Reason(planned.code, message)
    own = (ticket.prediction_id, ticket.claim)
    if planned.delay is None:
        return transitions.steps.fail_store(session, *own, reason=reason)
    return transitions.steps.delay_store(session, *own, delay=planned.delay, reason=reason)


def _keep(session: Session, ticket: StoreTicket, file: UnverifiedFile, *, counts: bool) -> None:
    """Keep the bytes. `counts`: a repeat is evidence about the file, since the host served others in between."""
    if file.url is None:  # an earlier attempt kept these bytes, or better ones
        if counts and file.arrived.sha256 == ticket.kept_sha256:
            transitions.unverified.note_repeated(session, ticket.prediction_id)
        return
    kept = NewArtifact(
        ArtifactKind.UNVERIFIED,
        file.url,
        file.arrived.bytes,
        file.arrived.sha256,
        content_type=file.arrived.content_type or None,
        source=file.arrived.source,
        message=file.message,
        suspect=file.suspect.value,
    )
    transitions.unverified.keep_unverified(session, ticket.prediction_id, file=kept)


def fail_recheck(runtime: Runtime, ticket: StoreTicket, message: str) -> StoreFailed:
    """Handle a recheck that did not pass: the job ends as before."""
    with transaction(runtime.sessions) as session:
        moved = _move(session, ticket, _FINAL, message=message)
        if moved:
            transitions.unverified.explain_unverified(session, ticket.prediction_id, message=message)
    _count_if_stale(runtime, ticket, moved=moved)
    return StoreFailed(message)


def after_storage_error(runtime: Runtime, ticket: StoreTicket, error: Transient) -> StoreDelayed | StoreFailed:
    """Handle artifact storage that is full or not writable: the step is tried again until there is room."""
    delay = STORE_FAILED.next_delay(ticket.attempt, random=random.random, retry_after=error.retry_after)
    planned = NextStep("not_stored", delay)
    with transaction(runtime.sessions) as session:
        moved = _move(session, ticket, planned, message=str(error))
    return _report(runtime, ticket, planned, message=str(error), moved=moved)


def _report(
    runtime: Runtime, ticket: StoreTicket, planned: NextStep, *, message: str, moved: bool
) -> StoreDelayed | StoreFailed:
    _count_if_stale(runtime, ticket, moved=moved)
    if planned.delay is None:
        return StoreFailed(message)
    return StoreDelayed(f"{message}; tried again in {planned.delay.total_seconds():.0f} s")


def _count_if_stale(runtime: Runtime, ticket: StoreTicket, *, moved: bool) -> None:
    if not moved:
        count_stale(runtime, "store.outcome", ticket.prediction_id)


def _ask(runtime: Runtime, ticket: StoreTicket) -> _Answer:
    """Ask the provider, within seconds. The lease is renewed first and outlasts the request."""
    with transaction(runtime.sessions) as session:
        transitions.steps.renew_store(session, ticket.prediction_id, ticket.claim, lease=STORE_LEASE)
    try:
        return _Answer(runtime.quick_client.get_prediction(ticket.provider_id).outputs)
    except PredictionNotFound:
        return _Answer(is_unknown=True)
    except RushesError:
        return _Answer()


def _places(outputs: Iterable[str]) -> list[str]:
    """Return the addresses without their queries: a new signature is not a new file."""
    return [urlsplit(each)._replace(query="", fragment="").geturl() for each in outputs]


def _blame_host(session: Session, ticket: StoreTicket, *, message: str, probes: int) -> None:
    """Count the download towards an outage; during one, it was the probe. Locks the prediction, then the account."""
    transitions.output_host.mark_output_failed(session, ticket.prediction_id)
    delay = OUTPUT_PROBED.next_delay(probes + 1, random=random.random)
    transitions.output_host.note_output_failed(session, ticket.account_id, message=message, probe_after=delay)


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
