"""What follows a download that gave no video: another try, or the end of the job. Pure functions of what is known.

A host in trouble must never end a job, and a file that cannot be decoded must not be fetched for ever. Complete bytes
in an unknown format are the file's own fault: the same bytes twice settle it. A web page or a file that ends early
points at the host, so it needs more: other files that arrived, or time.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from models.queries import OutputEvidence
from models.transitions.storing.unverified import GIVE_UP_AFTER
from models.transitions.watching.retention import RETENTION
from rushes.artifacts import Suspect
from rushes.retries import OUTPUT_FAILED

FAILED = "output_failed"
"""Code of a delay: the host did not give the file."""
UNVERIFIED = "output_unverified"
"""Code of a delay or an end: bytes arrived and are kept, and the probe rejects them."""
EXPIRED = "output_expired"
"""Code of an end: six days of downloads have failed."""
GONE = "output_gone"
"""Code of an end: the provider keeps the file no longer, so only another purchase can give one."""

CONFIRM_AFTER = timedelta(seconds=20)
"""A file that fails the probe is fetched a second time after this long, and up to as long again."""
LONE_DOCUMENT_AFTER = timedelta(minutes=5)
"""A page is fetched again after this long if no file has arrived lately to show that the host is well."""
CUT_AFTER = timedelta(hours=1)
"""The same cut file for this long is how it is at the provider, too."""


class FailedDownload(NamedTuple):
    """A download that gave no video."""

    suspect: Suspect | None  # of the bytes that arrived; None: the host gave no file
    same: bool  # these bytes are the ones that an earlier attempt kept
    refused: bool  # the host answered 4xx
    attempt: int  # from 1
    age: timedelta  # since the prediction completed
    retry_after: timedelta | None = None

    @property
    def blames_host(self) -> bool:
        """Whether the host, rather than the file, seems to be at fault."""
        return self.suspect is not Suspect.FILE


class NextStep(NamedTuple):
    """A code for programs, and the wait before another try; None: the job ends with this code."""

    code: str
    delay: timedelta | None


def plan_next(failed: FailedDownload, seen: OutputEvidence, *, random: Callable[[], float]) -> NextStep:
    """Whether and when to download again. `random` gives a number in [0, 1)."""
    if failed.same and _is_settled(failed.suspect, seen):
        return NextStep(UNVERIFIED, None)
    if failed.age >= GIVE_UP_AFTER:
        return NextStep(_final_code(failed, seen), None)
    code = UNVERIFIED if failed.suspect else FAILED
    return NextStep(code, _wait(failed, seen, random=random))


def _is_settled(suspect: Suspect | None, seen: OutputEvidence) -> bool:
    """Whether the same bytes a second time are what the provider has."""
    kept_for = timedelta(seconds=seen.kept_seconds or 0)
    match suspect:
        case Suspect.FILE:
            return True
        case Suspect.DOCUMENT:
            vouched = seen.arrived_since_kept or kept_for >= LONE_DOCUMENT_AFTER
            return vouched and not seen.outage and not seen.sent_to_others
        case Suspect.CUT:
            return kept_for >= CUT_AFTER and not seen.outage
        case _:
            return False


def _final_code(failed: FailedDownload, seen: OutputEvidence) -> str:
    if failed.suspect or seen.kept_seconds is not None:
        return UNVERIFIED
    return GONE if failed.refused and failed.age >= RETENTION else EXPIRED


def _wait(failed: FailedDownload, seen: OutputEvidence, *, random: Callable[[], float]) -> timedelta:
    is_first = seen.kept_seconds is None
    if failed.suspect is Suspect.DOCUMENT and is_first and not seen.arrived_lately:
        return LONE_DOCUMENT_AFTER + CONFIRM_AFTER * random()
    if failed.suspect in (Suspect.FILE, Suspect.DOCUMENT) and is_first:
        return CONFIRM_AFTER * (1 + random())
    return OUTPUT_FAILED.next_delay(failed.attempt, random=random, retry_after=failed.retry_after)
