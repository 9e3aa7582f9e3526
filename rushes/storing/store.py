"""One store step: copy the video of a completed prediction, check it, make it visible, end the job.

Bytes that fail the probe are kept, too: they were paid for.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from models import ArtifactKind, transitions
from models.db.errors import DatabaseAway
from models.db.session import one_statement, transaction
from models.lifecycle import Reason
from models.transitions.storing.steps import NewArtifact, StoreTicket
from rushes.artifacts.download import Arrived, DownloadLimits, download_file
from rushes.artifacts.errors import DownloadFailed, Suspect
from rushes.artifacts.naming import duplicate_name, place_for, video_name
from rushes.artifacts.probe import ExpectedVideo
from rushes.artifacts.publish import KeptFile, StoredVideo, UnverifiedFile, copy_kept, store_video
from rushes.catalog import get_video_model
from rushes.errors import NotFound, Transient
from rushes.runtime import Runtime, count_stale, name_job
from rushes.storing.failures import (
    STORE_LEASE,
    StoreDelayed,
    StoreFailed,
    StoreLost,
    StoreStopped,
    after_failure,
    after_storage_error,
    after_unverified,
    fail_recheck,
    find_final,
    remove_unverified,
    report_outage_end,
)
from rushes.timing import Every

LIMITS = DownloadLimits(connect=timedelta(seconds=5), stall=timedelta(seconds=8))
RENEW_SECONDS = 2.0
"""How often a step renews its lease."""
GO_ON_SECONDS = 5.0
"""How long a task claims further steps. The lease of a message that waits for its thread is longer."""
AWAY = Reason("database_away", "the database was unreachable, or stood still, while the video was stored")
AWAY_AFTER_SECONDS = STORE_LEASE.total_seconds() / 2
"""If a renewal takes longer than this and is refused, the database stood still, not the worker."""
AWAY_PAUSE_SECONDS = 1.0
"""Time between a step's attempts to reach a database that was away."""
AWAY_SECONDS = 1_800.0
"""Well below the limit of a step, so that the watchdog never takes an outage for a stuck worker."""


def store_outputs(runtime: Runtime, prediction_id: UUID, claim: int, *, must_stop: Callable[[], bool]) -> str:
    """Store the video of this claim, then others that are due, so that a backlog does not wait for the dispatcher.

    The task ends when nothing is due, after `GO_ON_SECONDS`, or with the first step that fails. Raises what
    `store_output` raises. If the process dies, only the step that it has begun waits for the end of its lease.
    """
    goes_on_until = time.monotonic() + GO_ON_SECONDS
    line = store_output(runtime, prediction_id, claim, must_stop=must_stop)
    more = []
    while time.monotonic() < goes_on_until and not must_stop():
        with one_statement(runtime.sessions) as session:
            ticket = transitions.steps.begin_next_store(session, lease=STORE_LEASE)
        if ticket is None:
            break
        _store(runtime, ticket, must_stop=must_stop)
        more.append(ticket.place)
    return f"{line}; then {len(more)} more: {', '.join(more)}" if more else line


def store_output(runtime: Runtime, prediction_id: UUID, claim: int, *, must_stop: Callable[[], bool]) -> str:
    """Store the video of this claim, once; return a line for operators.

    `must_stop` returns True during a shutdown: the step then hands its claim back at once. Raises `StoreDelayed`,
    `StoreFailed` or `StoreStopped` after recording it in the rows, or `DatabaseAway`. If the process dies, it leaves
    only a temporary file with its claim in the name.
    """
    with one_statement(runtime.sessions) as session:
        ticket = transitions.steps.begin_store(session, prediction_id, claim, lease=STORE_LEASE)
    return "stale: nothing to do" if ticket is None else _store(runtime, ticket, must_stop=must_stop)


def _store(runtime: Runtime, ticket: StoreTicket, *, must_stop: Callable[[], bool]) -> str:
    # Excuse no outage before the step has begun: the claim may belong to another message's step, which continues.
    try:
        with _excuse_outages(runtime, ticket, must_stop=must_stop):
            return _finish(runtime, ticket, _copy_output(runtime, ticket, must_stop=must_stop))
    except (StoreDelayed, StoreFailed) as error:  # the task's id may name another job
        raise type(error)(f"{error} ({_name_job(runtime, ticket)})") from error


def _finish(runtime: Runtime, ticket: StoreTicket, stored: StoredVideo) -> str:
    facts = stored.facts
    surprises = facts.differences(_expected_of(ticket))
    ended = None
    with transaction(runtime.sessions) as session:
        finished = transitions.steps.finish_store(
            session,
            ticket.prediction_id,
            ticket.claim,
            artifacts=_describe_files(stored),
            surprises=surprises,
        )
        if finished is None:
            transitions.pruning.mark_late_files(session, ticket.prediction_id, _describe_files(stored))
        if not ticket.rechecks and (finished is None or finished.is_news):
            ended = transitions.output_host.note_output_reached(session, ticket.account_id)
    report_outage_end(runtime, ended)
    if finished is None:
        count_stale(runtime, "store.finish", ticket.prediction_id)
        return f"stored {_name_job(runtime, ticket)}, but another worker was first"
    remove_unverified(runtime, ticket)
    parts = [f"{stored.bytes:,} bytes, {facts.seconds:.1f} s, {facts.width}x{facts.height}", *surprises]
    return f"stored {_name_job(runtime, ticket)}: {'; '.join(parts)}"


def _name_job(runtime: Runtime, ticket: StoreTicket) -> str:
    return name_job(runtime, ticket.place, ticket.video_model, ticket.input.get("prompt"))


def _expected_of(ticket: StoreTicket) -> ExpectedVideo:
    model = get_video_model(ticket.video_model)
    return ExpectedVideo(seconds=model.output_seconds(ticket.input), width=model.width, height=model.height)


def _copy_output(runtime: Runtime, ticket: StoreTicket, *, must_stop: Callable[[], bool]) -> StoredVideo:
    """Copy the output into the store, renewing the step's lease."""
    keep_going = _make_heartbeat(runtime, ticket, must_stop=must_stop)
    if final := find_final(runtime, ticket):
        raise final
    try:
        runtime.store.require_marker(ticket.store_marker)
        copied = store_video(
            _choose_source(runtime, ticket, keep_going),
            store=runtime.store,
            name=_name_video(ticket),
            temporary_name=f"{ticket.prediction_id}-{ticket.claim}",
            keep_going=keep_going,
            kept=_find_kept(ticket),
        )
    except StoreLost:
        count_stale(runtime, "store.renew", ticket.prediction_id)
        raise
    except StoreStopped:
        reason = Reason("handed_back", "the worker was shut down while it stored the video")
        with transaction(runtime.sessions) as session:
            transitions.steps.delay_store(
                session, ticket.prediction_id, ticket.claim, delay=timedelta(0), reason=reason
            )
        raise
    except DownloadFailed as error:
        raise after_failure(runtime, ticket, error) from error
    except NotFound as error:
        raise fail_recheck(runtime, ticket, f"the unverified file is gone: {error}") from error
    except Transient as error:
        raise after_storage_error(runtime, ticket, error) from error
    if isinstance(copied, UnverifiedFile):
        raise after_unverified(runtime, ticket, copied)
    return copied


def _choose_source(runtime: Runtime, ticket: StoreTicket, keep_going: Callable[[], None]) -> Callable[[Path], Arrived]:
    """Choose the output's address or, for a recheck, the file that an earlier attempt kept."""

    def download(target: Path) -> Arrived:
        limits = replace(LIMITS, ca_file=runtime.settings.ca_file)
        return download_file(ticket.outputs[0], target, limits=limits, keep_going=keep_going)

    def copy(target: Path) -> Arrived:
        return copy_kept(runtime.store, ticket.kept_url or "", target, keep_going=keep_going)

    return copy if ticket.rechecks else download


def _make_heartbeat(runtime: Runtime, ticket: StoreTicket, *, must_stop: Callable[[], bool]) -> Callable[[], None]:
    renewal = Every(RENEW_SECONDS, began_at=time.monotonic())

    def keep_going() -> None:
        if must_stop():
            raise StoreStopped("the worker is shutting down")
        began = time.monotonic()
        if not renewal.begin_if_due(began):
            return
        with one_statement(runtime.sessions) as session:
            renewed = transitions.steps.renew_store(session, ticket.prediction_id, ticket.claim, lease=STORE_LEASE)
        if not renewed and time.monotonic() - began > AWAY_AFTER_SECONDS:
            raise DatabaseAway(AWAY.message)
        if not renewed:
            raise StoreLost("another worker took over the step")

    return keep_going


def _name_video(ticket: StoreTicket) -> str:
    """Return the name of the ticket's video in the store. That of a duplicate purchase is next to its job's."""
    name = video_name(
        job_id=ticket.job_id,
        prompt=str(ticket.input.get("prompt", "")),
        batch=ticket.batch_name,
        number=ticket.number,
        total=ticket.batch_size,
        stem=ticket.file_stem,
    )
    return place_for(ticket.tenant, duplicate_name(name, purchase=ticket.purchase) if ticket.is_duplicate else name)


def _describe_files(stored: StoredVideo) -> tuple[NewArtifact, NewArtifact]:
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


def _find_kept(ticket: StoreTicket) -> KeptFile | None:
    if ticket.kept_url is None or ticket.kept_bytes is None or ticket.kept_sha256 is None:
        return None
    suspect = Suspect(ticket.kept_suspect or Suspect.FILE)
    return KeptFile(ticket.kept_url, ticket.kept_bytes, ticket.kept_sha256, suspect)


@contextmanager
def _excuse_outages(runtime: Runtime, ticket: StoreTicket, *, must_stop: Callable[[], bool]) -> Iterator[None]:
    """Once the database is back, record in the step's row that it was away; re-raise `DatabaseAway`.

    The step is handed back, or its crash is excused: a live worker must not count as one that the video killed. A
    shutdown ends the wait, and so does `AWAY_SECONDS`.
    """
    try:
        yield
    except DatabaseAway:
        gives_up_at = time.monotonic() + AWAY_SECONDS
        while not _excuse_step(runtime, ticket):
            if must_stop() or time.monotonic() > gives_up_at:
                break
            time.sleep(AWAY_PAUSE_SECONDS)
        raise


def _excuse_step(runtime: Runtime, ticket: StoreTicket) -> bool:
    own = (ticket.prediction_id, ticket.claim)
    try:
        with transaction(runtime.sessions) as session:
            if not transitions.steps.delay_store(session, *own, delay=timedelta(0), reason=AWAY):
                transitions.steps.excuse_store(session, *own, reason=AWAY)
    except DatabaseAway:
        return False
    runtime.waker.wake()
    return True
