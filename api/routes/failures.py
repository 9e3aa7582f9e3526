"""Failed jobs, grouped by why they failed."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.access import CallerDep
from api.deps import RuntimeDep
from api.examples import JOB_ID, Json
from api.openapi import answers
from api.schemas.events import FailureGroupSeen, Failures
from rushes.access.callers import READ
from rushes.jobs.choosing import JobChoice
from rushes.jobs.failures import list_failures

router = APIRouter(prefix="/v1/failures", tags=["jobs"])

_GROUP: Json = {
    "code": "moderation",
    "message": "the prompt was rejected by moderation (request #)",
    "jobs": 137,
    "spent": "0.0000",
    "price": "49.3200",
    "models": ["ltx-2-fast", "ltx-2-pro"],
    "first_at": "2026-11-05T12:01:38.551042Z",
    "last_at": "2026-11-05T12:16:02.310077Z",
    "samples": [{"id": JOB_ID, "tenant": "default", "batch": "pilot", "number": 3, "client_ref": "TEST-003"}],
}


@router.get(
    "",
    summary="Group failed jobs",
    **answers(READ, 200, "The groups.", {"items": [_GROUP], "jobs": 137}, 404, 422),
)
def list_all(asked: Annotated[JobChoice, Query()], runtime: RuntimeDep, caller: CallerDep) -> Failures:
    """Failed jobs, grouped by failure code and message; the largest group comes first.

    Messages that differ only in addresses, ids and numbers count as the same. The newest 100,000 failed jobs that meet
    all filters are grouped.
    """
    groups = list_failures(runtime.sessions, asked, caller)
    items = [FailureGroupSeen.copy_from(each) for each in groups[:100]]
    return Failures(items=items, jobs=sum(each.jobs for each in groups))
