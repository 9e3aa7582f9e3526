"""Failures grouped: failed jobs with the same code and, apart from ids and numbers, the same message."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from models.db.session import Sessions, transaction
from models.queries.job_lists import FailedJob, list_failed
from rushes.access.callers import Caller
from rushes.catalog import find_video_model
from rushes.jobs.choosing import JobChoice, choose_jobs

LARGEST_NUMBER = 100_000
_SAMPLES = 5
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# Hexadecimal from 8 characters on, or any letters and digits from 12 on. A size such as 1920x1080 is shorter.
_ID = r"(?<![0-9a-z])(?=[a-z]*[0-9])(?:[0-9a-f]{8,}|[0-9a-z]{12,})(?![0-9a-z])"
_ID_OR_NUMBER = re.compile(rf"{_UUID}|{_ID}|\d+(?:[.,:]\d+)*", re.IGNORECASE)


class FailureGroup(NamedTuple):
    """Failed jobs with one code and one masked message. Money is in dollars."""

    code: str
    message: str
    jobs: int
    spent: Decimal  # for their predictions that ended as paid
    price: Decimal  # for rendering each of them once more
    models: list[str]  # short names, or ids of video models that are no longer in the catalogue
    first_at: datetime
    last_at: datetime
    samples: Sequence[FailedJob]  # the last few


def mask_message(message: str) -> str:
    """Replace addresses, ids and numbers, so that messages that differ only in these are the same."""
    return _ID_OR_NUMBER.sub("#", _ADDRESS.sub("<url>", message))


def list_failures(sessions: Sessions, choice: JobChoice, caller: Caller) -> list[FailureGroup]:
    """Group the newest failed jobs that are chosen; the largest group comes first. Raises as `choose_jobs` does."""
    with transaction(sessions) as session:
        failed = list_failed(session, choose_jobs(session, choice, caller), limit=LARGEST_NUMBER)
    return group_failures(failed)


def group_failures(failed: Iterable[FailedJob]) -> list[FailureGroup]:
    """Group failed jobs, of which the last one comes first."""
    groups: dict[tuple[str, str], list[FailedJob]] = {}
    for job in failed:
        groups.setdefault((job.code, mask_message(job.message or "")), []).append(job)
    found = [_sum_up(code, message, jobs) for (code, message), jobs in groups.items()]
    return sorted(found, key=lambda group: group.jobs, reverse=True)


def _sum_up(code: str, message: str, jobs: Sequence[FailedJob]) -> FailureGroup:
    spent, price = sum(each.spent for each in jobs), sum(each.price for each in jobs)
    names = {(model.name if (model := find_video_model(name)) else name) for name in {job.video_model for job in jobs}}
    money, times = (Decimal(spent), Decimal(price)), (jobs[-1].ended_at, jobs[0].ended_at)
    return FailureGroup(code, message, len(jobs), *money, sorted(names), *times, jobs[:_SAMPLES])
