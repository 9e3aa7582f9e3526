"""Handles a store step that gave no video: updates its rows, keeps the bytes that arrived, and judges the host."""

import random
from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from models import ArtifactKind, queries, transitions
from models.db.session import transaction
from models.lifecycle import Reason
from models.transitions.storing.duplicates import DuplicateTicket
from models.transitions.storing.steps import NewArtifact, StoreTicket
from models.transitions.watching.retention import RETENTION
from rushes.artifacts import DownloadFailed, NotAnAddress, OutputRefused, Suspect, UnverifiedFile
from rushes.errors import RushesError, Transient
from rushes.retries import OUTPUT_PROBED, STORE_FAILED
from rushes.runtime import Runtime
from rushes.stale_writes import count_stale
from rushes.storing.next_attempt import (
    UNVERIFIED,
    FailedDownload,
    NextStep,
    is_final_without_download,
    is_host_in_trouble,
    plan_next,
)
from rushes.storing.steps import STORE_LEASE, StoreDelayed, StoreFailed, StoreStep, remove_files
from rushes.wavespeed import PredictionNotFound

log = structlog.get_logger(__name__)


class _Answer(NamedTuple):
    """The provider's answer about a prediction with an output that could not be stored."""

    outputs: tuple[str, ...] = ()  # the current addresses; none if the provider does not answer
    is_unknown: bool = False  # the provider does not know the prediction any more


def find_final(runtime: Runtime, step: StoreStep) -> StoreFailed | None:
    """End the step without a third download if the page that came twice is known to be the file."""
    ticket = step.ticket
    if ticket.rechecks or ticket.kept_suspect != Suspect.DOCUMENT:
        return None
    with transaction(runtime.sessions) as session:
        seen = queries.storing.find_output_evidence(session, ticket.prediction_id, sha256=ticket.kept_sha256)
        if not is_final_without_download(Suspect.DOCUMENT, seen):
            return None
        message = "the same web page arrived twice instead of a video, while other downloads worked"
        moved = _move(session, step, NextStep(UNVERIFIED, None), message=message)
    if not moved:
        count_stale(runtime, step.moves.stale_outcome, step.row_id)
    return StoreFailed(message)


def after_failure(runtime: Runtime, step: StoreStep, error: DownloadFailed) -> StoreDelayed | StoreFailed:
    """Handle a download for which the host gave no file."""
    ticket = step.ticket
    refused = isinstance(error, OutputRefused)
    asks = refused or isinstance(error, NotAnAddress) or ticket.age_seconds > RETENTION.total_seconds()
    answer = _ask(runtime, step) if asks else _Answer()
    failed = FailedDownload(
        suspect=None,
        same=False,
        is_gone=refused or answer.is_unknown,
        attempt=ticket.attempt,
        age=timedelta(seconds=ticket.age_seconds),
        retry_after=error.retry_after,
    )
    return _move_on(runtime, step, failed, message=str(error), outputs=answer.outputs)


def after_unverified(runtime: Runtime, step: StoreStep, file: UnverifiedFile) -> StoreDelayed | StoreFailed:
    """Handle bytes that arrived but that the probe rejects."""
    ticket = step.ticket
    if ticket.rechecks:
        return fail_recheck(runtime, step, file.message)
    answer = _ask(runtime, step)
    has_moved = bool(answer.outputs) and _places(answer.outputs) != _places(ticket.outputs)
    failed = FailedDownload(
        suspect=file.suspect,
        same=file.arrived.sha256 == ticket.kept_sha256 and not has_moved,
        is_gone=answer.is_unknown,
        attempt=ticket.attempt,
        age=timedelta(seconds=ticket.age_seconds),
    )
    return _move_on(runtime, step, failed, message=file.message, outputs=answer.outputs, file=file)


def _move_on(
    runtime: Runtime,
    step: StoreStep,
    failed: FailedDownload,
    *,
    message: str,
    outputs: tuple[str, ...],
    file: UnverifiedFile | None = None,
) -> StoreDelayed | StoreFailed:
    """In one transaction, delay or end the step, keep the bytes that arrived, and record the state of the host."""
    ticket = step.ticket
    sha256 = file.arrived.sha256 if file else None
    with transaction(runtime.sessions) as session:
        seen = queries.storing.find_output_evidence(session, ticket.prediction_id, sha256=sha256)
        planned = plan_next(failed, seen, random=random.random)
        if outputs and list(outputs) != ticket.outputs:
            transitions.steps.refresh_outputs(session, ticket.prediction_id, outputs=outputs)
        moved = _move(session, step, planned, message=message)
        if moved and file is not None:
            _keep(session, ticket, file, counts=seen.arrived_since_failed and not is_host_in_trouble(seen))
        if moved and failed.blames_host and isinstance(ticket, StoreTicket):
            _blame_host(session, ticket.job_id, ticket.account_id, message=message, probes=seen.probes)
    if moved and file and file.url and ticket.kept_url and file.url != ticket.kept_url:
        remove_files(runtime, [ticket.kept_url])
    if not failed.blames_host and not seen.sent_to_others:  # bytes that others got, too, may be a placeholder
        note_arrival(runtime, ticket.account_id)
    return _report(runtime, step, planned, message=message, moved=moved)


def _move(session: Session, step: StoreStep, planned: NextStep, *, message: str) -> bool:
    reason = Reason(planned.code, message)
    if planned.delay is None:
        return step.moves.fail(session, step.row_id, step.claim, reason=reason)
    return step.moves.delay(session, step.row_id, step.claim, delay=planned.delay, reason=reason)


def _keep(session: Session, ticket: StoreTicket | DuplicateTicket, file: UnverifiedFile, *, counts: bool) -> None:
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


def fail_recheck(runtime: Runtime, step: StoreStep, message: str) -> StoreFailed:
    """Handle a recheck that did not pass: the job ends as before."""
    with transaction(runtime.sessions) as session:
        moved = step.moves.fail(session, step.row_id, step.claim, reason=Reason(UNVERIFIED, message))
        if moved:
            transitions.unverified.explain_unverified(session, step.ticket.prediction_id, message=message)
    if not moved:
        count_stale(runtime, step.moves.stale_outcome, step.row_id)
    return StoreFailed(message)


def after_storage_error(runtime: Runtime, step: StoreStep, error: Transient) -> StoreDelayed | StoreFailed:
    """Handle artifact storage that is full or not writable: the step is tried again until there is room."""
    delay = STORE_FAILED.next_delay(step.ticket.attempt, random=random.random, retry_after=error.retry_after)
    planned = NextStep("not_stored", delay)
    with transaction(runtime.sessions) as session:
        moved = _move(session, step, planned, message=str(error))
    return _report(runtime, step, planned, message=str(error), moved=moved)


def _report(
    runtime: Runtime, step: StoreStep, planned: NextStep, *, message: str, moved: bool
) -> StoreDelayed | StoreFailed:
    if not moved:
        count_stale(runtime, step.moves.stale_outcome, step.row_id)
    if planned.delay is None:
        return StoreFailed(message)
    return StoreDelayed(f"{message}; tried again in {planned.delay.total_seconds():.0f} s")


def _ask(runtime: Runtime, step: StoreStep) -> _Answer:
    """Ask the provider, within seconds. The lease is renewed first and outlasts the request."""
    with transaction(runtime.sessions) as session:
        step.moves.renew(session, step.row_id, step.claim, lease=STORE_LEASE)
    try:
        return _Answer(runtime.quick_client.get_prediction(step.ticket.provider_id).outputs)
    except PredictionNotFound:
        return _Answer(is_unknown=True)
    except RushesError:
        return _Answer()


def _places(outputs: Iterable[str]) -> list[str]:
    """Return the addresses without their queries: a new signature is not a new file."""
    return [urlsplit(each)._replace(query="", fragment="").geturl() for each in outputs]


def note_arrival(runtime: Runtime, account_id: UUID) -> None:
    """Record that the host has given a file: this ends any outage, and waiting downloads go on."""
    with transaction(runtime.sessions) as session:
        ended = transitions.output_host.note_output_reached(session, account_id)
    if ended is not None:
        log.info("outputs.back", after_seconds=round(ended.seconds), released=ended.released)
        runtime.waker.wake()


def _blame_host(session: Session, job_id: UUID, account_id: UUID, *, message: str, probes: int) -> None:
    """Count the job towards an outage; during one, this download was its probe. Locks the job, then the account."""
    transitions.output_host.mark_output_failed(session, job_id)
    delay = OUTPUT_PROBED.next_delay(probes + 1, random=random.random)
    transitions.output_host.note_output_failed(session, account_id, message=message, probe_after=delay)
