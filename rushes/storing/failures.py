"""What becomes of a store step that gave no video: its rows, the bytes that arrived, and what it says of the host."""

import random
from collections.abc import Iterable
from datetime import timedelta
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from models import ArtifactKind, queries, transitions
from models.db.session import transaction
from models.transitions import NewArtifact, StoreTicket, SurplusTicket
from rushes.artifacts import DownloadFailed, NotAnAddress, OutputRefused, UnverifiedFile
from rushes.errors import RushesError, Transient
from rushes.retries import OUTPUT_PROBED, STORE_FAILED
from rushes.runtime import Runtime
from rushes.stale_writes import count_late
from rushes.storing.next_attempt import UNVERIFIED, FailedDownload, NextStep, plan_next
from rushes.storing.steps import StoreDelayed, StoreFailed, StoreStep


def after_failure(runtime: Runtime, step: StoreStep, error: DownloadFailed) -> StoreDelayed | StoreFailed:
    """The host did not give the file."""
    ticket = step.ticket
    refused = isinstance(error, OutputRefused)
    outputs = _ask_for_outputs(runtime, ticket) if refused or isinstance(error, NotAnAddress) else ()
    failed = FailedDownload(
        suspect=None,
        same=False,
        refused=refused,
        attempt=ticket.attempt,
        age=timedelta(seconds=ticket.age_seconds),
        retry_after=error.retry_after,
    )
    return _move_on(runtime, step, failed, message=str(error), outputs=outputs)


def after_unverified(runtime: Runtime, step: StoreStep, file: UnverifiedFile) -> StoreDelayed | StoreFailed:
    """Bytes arrived, and the probe rejects them."""
    ticket = step.ticket
    if ticket.rechecks:
        return fail_recheck(runtime, step, file.message)
    outputs = _ask_for_outputs(runtime, ticket)
    has_moved = bool(outputs) and _places(outputs) != _places(ticket.outputs)
    failed = FailedDownload(
        suspect=file.suspect,
        same=file.arrived.sha256 == ticket.kept_sha256 and not has_moved,
        refused=False,
        attempt=ticket.attempt,
        age=timedelta(seconds=ticket.age_seconds),
    )
    return _move_on(runtime, step, failed, message=file.message, outputs=outputs, file=file)


def _move_on(
    runtime: Runtime,
    step: StoreStep,
    failed: FailedDownload,
    *,
    message: str,
    outputs: tuple[str, ...],
    file: UnverifiedFile | None = None,
) -> StoreDelayed | StoreFailed:
    """Delay the step or end it, keep the bytes that arrived, and note how the host is: one transaction."""
    ticket = step.ticket
    sha256 = file.arrived.sha256 if file else None
    with transaction(runtime.sessions) as session:
        seen = queries.find_output_evidence(session, ticket.account_id, ticket.prediction_id, sha256=sha256)
        planned = plan_next(failed, seen, random=random.random)
        if outputs and list(outputs) != ticket.outputs:
            transitions.refresh_outputs(session, ticket.prediction_id, outputs=outputs)
        moved = _move(session, step, planned, message=message)
        if moved and file is not None:
            _keep(session, ticket, file)
        if moved and failed.blames_host:
            _blame_host(session, ticket, message=message, probes=seen.probes)
    return _report(runtime, step, planned, message=message, moved=moved)


def _move(session: Session, step: StoreStep, planned: NextStep, *, message: str) -> bool:
    reason = (planned.code, message)
    if planned.delay is None:
        return step.moves.fail(session, step.row_id, step.claim, reason=reason)
    return step.moves.delay(session, step.row_id, step.claim, delay=planned.delay, reason=reason)


def _keep(session: Session, ticket: StoreTicket | SurplusTicket, file: UnverifiedFile) -> None:
    if file.url is None:  # an earlier attempt kept these bytes, or a larger file
        return
    kept = NewArtifact(
        ArtifactKind.UNVERIFIED,
        file.url,
        file.arrived.bytes,
        file.arrived.sha256,
        content_type=file.arrived.content_type or None,
        source=file.arrived.source,
        message=file.message,
    )
    transitions.keep_unverified(session, ticket.prediction_id, file=kept)


def _blame_host(session: Session, ticket: StoreTicket | SurplusTicket, *, message: str, probes: int) -> None:
    """The job counts towards an outage; during one, this was its probe. The account's row is locked last."""
    if isinstance(ticket, StoreTicket):
        transitions.mark_output_failed(session, ticket.job_id)
    delay = OUTPUT_PROBED.next_delay(probes + 1, random=random.random)
    transitions.note_probe_failed(session, ticket.account_id, message=message, probe_after=delay)


def fail_recheck(runtime: Runtime, step: StoreStep, message: str) -> StoreFailed:
    """A recheck did not pass: the job ends as it was."""
    with transaction(runtime.sessions) as session:
        moved = step.moves.fail(session, step.row_id, step.claim, reason=(UNVERIFIED, message))
        if moved:
            transitions.explain_unverified(session, step.ticket.prediction_id, message=message)
    if not moved:
        count_late(runtime, step.moves.late_outcome, step.row_id)
    return StoreFailed(message)


def after_storage_error(runtime: Runtime, step: StoreStep, error: Transient) -> StoreDelayed | StoreFailed:
    """The artifact storage is full or cannot be written: tried again until there is room."""
    delay = STORE_FAILED.next_delay(step.ticket.attempt, random=random.random, retry_after=error.retry_after)
    planned = NextStep("not_stored", delay)
    with transaction(runtime.sessions) as session:
        moved = _move(session, step, planned, message=str(error))
    return _report(runtime, step, planned, message=str(error), moved=moved)


def _report(
    runtime: Runtime, step: StoreStep, planned: NextStep, *, message: str, moved: bool
) -> StoreDelayed | StoreFailed:
    if not moved:
        count_late(runtime, step.moves.late_outcome, step.row_id)
    if planned.delay is None:
        return StoreFailed(message)
    return StoreDelayed(f"{message}; tried again in {planned.delay.total_seconds():.0f} s")


def _ask_for_outputs(runtime: Runtime, ticket: StoreTicket | SurplusTicket) -> tuple[str, ...]:
    """The addresses of the outputs as the provider gives them now; none where it does not answer."""
    try:
        return runtime.client.get_prediction(ticket.provider_id).outputs
    except RushesError:
        return ()


def _places(outputs: Iterable[str]) -> list[str]:
    """The addresses without their queries: a new signature is not a new file."""
    return [urlsplit(each)._replace(query="", fragment="").geturl() for each in outputs]
