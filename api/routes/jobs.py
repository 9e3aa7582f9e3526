"""Jobs: push, follow, cancel, retry."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response

from api import examples
from api.access import CallerDep
from api.deps import JobBody, JobId, LinksDep, RetryBody, RuntimeDep
from api.idempotency import Made, OnceDep
from api.openapi import BODY_ERRORS, answers, shows, takes
from api.schemas.events import EventPage, EventsAsked, EventSeen
from api.schemas.jobs import JobCancelled, JobDetails, JobListed, JobPage, JobPushed, JobRetried, JobsAsked
from api.schemas.orders import RetryAsked, SingleJobOrder
from models.db.session import Sessions
from rushes.access.callers import CHANGE, PUSH, READ
from rushes.jobs.choosing import choose_jobs
from rushes.jobs.pushing import cancel_job, push_job
from rushes.jobs.rechecks import recheck_job
from rushes.jobs.retry import retry_job
from rushes.jobs.views import JobView, get_job, list_events, list_jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post(
    "",
    summary="Push a job",
    response_model=JobPushed,
    **answers(
        PUSH,
        201,
        "The job is stored and will be rendered.",
        examples.PUSHED_JOB,
        *(*BODY_ERRORS, 409),
        also={200: {"model": JobPushed, **shows("A job with this `client_ref` exists.", examples.PUSHED_JOB)}},
    ),
    openapi_extra=takes(SingleJobOrder, text_to_video=examples.NEW_JOB, image_to_video=examples.NEW_IMAGE_JOB),
)
def push(*, new: JobBody, once: OnceDep) -> Response:
    """Store one job. The job is durable once this is answered with 201.

    Omitted parameters get the catalogue's defaults, so `input` in the answer is the input that will be sent. With an
    `Idempotency-Key`, the push is safe to repeat after a 503 or a broken connection. `on_conflict` also finds a job
    that another request has pushed.
    """
    caller, links = once.caller, once.links

    def make(sessions: Sessions) -> Made:
        returns_same = new.on_conflict == "return"
        job, warnings, is_same = push_job(sessions, new, tenant_id=caller.tenant_id, returns_same=returns_same)
        view = get_job(sessions, job.id) if is_same else JobView(job, tenant=caller.tenant)
        return Made(JobPushed.of(view, links, warnings=warnings), 200 if is_same else 201, links.job(job.id))

    return once.answer(make)


@router.get("", summary="List jobs", **answers(READ, 200, "A page of jobs.", examples.JOB_PAGE, 404, 422))
def list_all(asked: Annotated[JobsAsked, Query()], runtime: RuntimeDep, links: LinksDep, caller: CallerDep) -> JobPage:
    """Jobs that meet all filters, newest first unless `sort` says otherwise. `state` and `ids` may be repeated.

    Jobs pushed while you page through the list do not shift the pages.
    """
    page = list_jobs(
        runtime.sessions,
        lambda session: choose_jobs(session, asked, caller),
        limit=asked.limit,
        sort=asked.sort,
        is_reversed=asked.reverse,
        after=asked.cursor,
    )
    return JobPage.of(page, partial(JobListed.of, links=links))


@router.get("/{job_id:job}", summary="Show a job", **answers(READ, 200, "The job.", examples.JOB, 404, 422))
def show(job_id: JobId, runtime: RuntimeDep, links: LinksDep) -> JobDetails:
    """One job with its purchases and progress. `waits_for` gives the reason while the job does not progress."""
    view = get_job(runtime.sessions, job_id, explained=True, forecaster=runtime.forecaster)
    return JobDetails.of(view, links)


@router.get(
    "/{job_id:job}/events",
    summary="Read a job's history",
    **answers(READ, 200, "A page of events.", examples.EVENT_PAGE, 404, 422),
)
def show_events(job_id: JobId, asked: Annotated[EventsAsked, Query()], runtime: RuntimeDep) -> EventPage:
    """Everything that happened to the job, oldest first."""
    page = list_events(runtime.sessions, job_id, limit=asked.limit, after=asked.cursor)
    return EventPage.of(page, EventSeen.copy_from)


@router.post(
    "/{job_id:job}/cancel",
    summary="Cancel a job",
    **answers(CHANGE, 202, "The job, and the result of the request.", examples.CANCELLED_JOB, 404, 409, 422),
)
def cancel(*, job_id: JobId, runtime: RuntimeDep, links: LinksDep, caller: CallerDep) -> JobCancelled:
    """Cancel at once if nothing was submitted; otherwise request the cancellation.

    A running render cannot be stopped at the provider and is paid for. Its file is stored, and the job then ends as
    `cancelled`. A job that has ended is refused with 409.
    """
    outcome = cancel_job(runtime.sessions, job_id, caller=caller)
    runtime.waker.wake()
    return JobCancelled(outcome=outcome, job=JobDetails.of(get_job(runtime.sessions, job_id), links))


@router.post(
    "/{job_id:job}/retry",
    summary="Retry a job",
    response_model=JobRetried,
    **answers(CHANGE, 202, "The job, active again.", examples.RETRIED_JOB, *BODY_ERRORS, 404, 409),
    openapi_extra=takes(RetryAsked, required=False, with_another_image=examples.RETRY),
)
def retry(*, job_id: JobId, asked: RetryBody, once: OnceDep) -> Response:
    """Queue a failed or cancelled job again. A job in any other state is refused with 409.

    `max_attempts` grows by the number of purchases so far, to at most 20. A video that is paid for but not stored is
    downloaded, not bought again. The one exception is a job that failed with `output_gone`: the provider has deleted
    its file, so the job is bought again.

    The body may replace values of the input. Rushes checks them as in a push, and the history keeps the old ones.
    """

    def make(sessions: Sessions) -> Made:
        state = retry_job(sessions, job_id, asked.input if asked else None, caller=once.caller)
        return Made(JobRetried(state=state, job=JobDetails.of(get_job(sessions, job_id), once.links)), 202)

    return once.answer(make)


@router.post(
    "/{job_id:job}/recheck",
    summary="Probe an unverified file again",
    **answers(CHANGE, 202, "The file is being probed.", examples.RECHECKED_JOB, 404, 409, 422),
)
def recheck(*, job_id: JobId, runtime: RuntimeDep, links: LinksDep, caller: CallerDep) -> JobDetails:
    """Probe the job's unverified file again. If it passes, the job ends as `succeeded`. 409 if the job has none."""
    recheck_job(runtime.sessions, job_id, caller=caller)
    runtime.waker.wake()
    return JobDetails.of(get_job(runtime.sessions, job_id), links)
