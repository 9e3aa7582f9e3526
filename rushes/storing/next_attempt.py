"""Decides what follows a download that gave no video: another attempt, or the end of the job. Pure functions.

A host in trouble must never end a job, and a file that cannot be decoded must not be fetched forever. Complete bytes in
an unknown format are the file's fault: if the same bytes come twice, that is final. A web page or a truncated file
suggests a fault of the host. It needs more evidence: a host that serves all other jobs, or time.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from models.queries.storing import OutputEvidence
from models.transitions.storing.unverified import GIVE_UP_AFTER
from models.transitions.watching.retention import RETENTION
from rushes.artifacts.errors import Suspect
from rushes.timing import OUTPUT_FAILED

FAILED = "output_failed"
"""The step is delayed: the host did not give the file."""
UNVERIFIED = "output_unverified"
"""The step is delayed or the job ends: bytes arrived and are kept, but the probe rejects them."""
EXPIRED = "output_expired"
"""The job ends: downloads have failed for six days."""
GONE = "output_gone"
"""The job ends: the provider no longer keeps the file, so only another purchase can give one."""

CONFIRM_AFTER = timedelta(seconds=20)
"""A file that fails the probe is fetched again after one to two times this delay."""
VOUCH_AFTER = timedelta(minutes=1)
"""After the same document came twice, the host must serve all other jobs for this long."""
SAME_FOR = {Suspect.DOCUMENT: timedelta(minutes=10), Suspect.CUT: timedelta(hours=1)}
"""Bytes that stay the same for this long are the provider's file, if no other job shows trouble of the host."""


class FailedDownload(NamedTuple):
    """A download that gave no video."""

    suspect: Suspect | None  # kind of bytes that arrived; None: the host gave no file
    same: bool  # an earlier attempt kept the same bytes
    is_gone: bool  # the host refuses the file, or the provider does not know the prediction any more
    attempt: int  # from 1
    age: timedelta  # since the prediction completed
    retry_after: timedelta | None = None

    @property
    def blames_host(self) -> bool:
        """Whether the host, rather than the file, seems to be at fault."""
        return self.suspect is not Suspect.FILE


class NextStep(NamedTuple):
    """A machine-readable code, and the wait before another attempt; None: the job ends with this code."""

    code: str
    delay: timedelta | None


def plan_next(failed: FailedDownload, seen: OutputEvidence, *, random: Callable[[], float]) -> NextStep:
    """Decide whether and when to download again. `random` returns a number in [0, 1)."""
    if failed.same and _is_final(failed.suspect, seen):
        return NextStep(UNVERIFIED, None)
    if failed.age >= GIVE_UP_AFTER:
        return NextStep(_final_code(failed, seen), None)
    code = UNVERIFIED if failed.suspect else FAILED
    return NextStep(code, _wait(failed, seen, random=random))


def is_final_without_download(kept: Suspect | None, seen: OutputEvidence) -> bool:
    """Whether a document that came twice is the file: the host served all other jobs, between the two and after."""
    return kept is Suspect.DOCUMENT and seen.arrived_since_repeat and not is_host_in_trouble(seen)


def _is_final(suspect: Suspect | None, seen: OutputEvidence) -> bool:
    """Whether repeated bytes are the provider's file."""
    if suspect is None or suspect is Suspect.FILE:
        return suspect is Suspect.FILE
    kept_for = timedelta(seconds=seen.kept_seconds or 0)
    return kept_for >= SAME_FOR[suspect] and not is_host_in_trouble(seen)


def is_host_in_trouble(seen: OutputEvidence) -> bool:
    """Whether the host has failed other jobs, too, so that its bytes for this one prove nothing."""
    return seen.outage or seen.others_failed or seen.sent_to_others


def _final_code(failed: FailedDownload, seen: OutputEvidence) -> str:
    if failed.is_gone and failed.age >= RETENTION:
        return GONE
    return UNVERIFIED if failed.suspect or seen.kept_seconds is not None else EXPIRED


def _wait(failed: FailedDownload, seen: OutputEvidence, *, random: Callable[[], float]) -> timedelta:
    if failed.suspect in (Suspect.FILE, Suspect.DOCUMENT) and seen.kept_seconds is None:
        return CONFIRM_AFTER * (1 + random())
    if failed.suspect is Suspect.DOCUMENT and failed.same and not is_host_in_trouble(seen):
        left = SAME_FOR[Suspect.DOCUMENT] - timedelta(seconds=seen.kept_seconds or 0)
        return (VOUCH_AFTER if seen.arrived_since_failed else max(left, VOUCH_AFTER)) + CONFIRM_AFTER * random()
    return OUTPUT_FAILED.next_delay(failed.attempt, random=random, retry_after=failed.retry_after)
