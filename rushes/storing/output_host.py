"""What a download says of the output host: it gave a file, or it did not."""

import random
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from models import transitions
from models.db.session import transaction
from rushes.retries import OUTPUT_PROBED
from rushes.runtime import Runtime

log = structlog.get_logger(__name__)


def note_arrival(runtime: Runtime, account_id: UUID) -> None:
    """The host has given a file: an outage, if one was on, is over, and waiting downloads go on."""
    with transaction(runtime.sessions) as session:
        ended = transitions.output_host.note_output_reached(session, account_id)
    if ended is not None:
        log.info("outputs.back", after_seconds=round(ended.seconds), released=ended.released)
        runtime.waker.wake()


def blame_host(session: Session, job_id: UUID, account_id: UUID, *, message: str, probes: int) -> None:
    """Count the job towards an outage; during one, this was its probe. Locks the job, then the account."""
    transitions.output_host.mark_output_failed(session, job_id)
    delay = OUTPUT_PROBED.next_delay(probes + 1, random=random.random)
    transitions.output_host.note_output_failed(session, account_id, message=message, probe_after=delay)
