"""Batches: price, push, follow."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api import examples
from api.access import CallerDep
from api.bulk import examples as bulk
from api.bulk.spooling import MEDIA_TYPES, LinesBody
from api.deps import BatchBody, BatchId, JobsBody, PruneBody, RuntimeDep
from api.idempotency import Made, OnceDep
from api.openapi import BODY_ERRORS, answers, shows, takes, takes_lines
from api.schemas.batches import BatchDetails, BatchesAsked, BatchPage, BatchPushed, JobsAdded, Price
from api.schemas.events import EventPage, EventsAsked, EventSeen
from api.schemas.orders import BatchOrder, JobsToPrice
from api.schemas.pruning import PruneAsked, PruneResult
from api.schemas.values import TimeLeftEstimate
from api.validation import read_lines
from models.db.session import Sessions
from models.transitions.jobs import NewBatch
from rushes.access.callers import CHANGE, OPERATE, PUSH, READ
from rushes.artifacts.naming import place_for
from rushes.bulk.defaults import check_defaults
from rushes.bulk.filling import add_jobs, open_batch, read_batch, seal_batch
from rushes.bulk.lines import check_lines
from rushes.jobs.batches import forecast_push, get_batch, list_batch_events, list_batches, view_pushed_batch
from rushes.jobs.pruning import delete_batch
from rushes.jobs.pushing import Checked, JobOrder, check_batch, check_orders, push_batch

router = APIRouter(prefix="/v1", tags=["batches"])


@router.post(
    "/estimate",
    summary="Price jobs",
    **answers(PUSH, 200, "The price of the jobs.", examples.PRICE, *BODY_ERRORS),
    openapi_extra=takes(JobsToPrice, two_jobs=examples.NEW_JOBS),
)
def estimate(new: JobsBody, runtime: RuntimeDep) -> Price:
    """Check jobs as a push does and price them from the catalogue. Nothing is stored."""
    checked = check_orders(new.jobs, max_jobs=runtime.settings.max_batch_jobs)
    found = forecast_push(runtime.sessions, checked.jobs, forecaster=runtime.forecaster) if new.forecast else ()
    first, last = map(TimeLeftEstimate.find, found or (None, None))
    return Price.copy_from(checked, jobs=len(checked.jobs), first_time_left=first, time_left=last)


@router.post(
    "/batches",
    summary="Push a batch",
    response_model=BatchPushed,
    **answers(
        PUSH,
        201,
        "The batch is stored and will be rendered.",
        examples.PUSHED_BATCH,
        *(*BODY_ERRORS, 409),
        also={200: {"model": BatchPushed, **shows("The same jobs were pushed before.", bulk.REPEATED_BATCH)}},
    ),
    openapi_extra=takes(
        BatchOrder,
        two_jobs=examples.NEW_BATCH,
        to_have_ended_by_a_time=examples.URGENT_BATCH,
        open_for_jobs=bulk.OPEN_BATCH,
    ),
)
def push(*, new: BatchBody, once: OnceDep) -> Response:
    """Store up to 100,000 jobs under a name, all of them or none. A name that is taken is refused with 409.

    Without `jobs`, the batch is open: `POST /v1/batches/{name}/jobs` adds jobs, which are rendered as they arrive, and
    `POST /v1/batches/{name}/seal` closes it.

    An `Idempotency-Key` makes a push safe to repeat after a broken connection. `on_repeat` also recognises jobs that
    another request has pushed: the batch that holds them is returned with 200 and `repeated`, and nothing is bought
    again.
    """
    caller, links, forecaster = once.caller, once.links, once.runtime.forecaster
    defaults = check_defaults(new.defaults) if new.defaults else None
    batch = NewBatch(caller.tenant_id, new.name, new.finish_by, new.digest)
    opens, checked = new.jobs is None, Checked()
    if new.jobs is not None:
        checked = check_batch(new.name, new.jobs, max_jobs=once.runtime.settings.max_batch_jobs)

    def make(sessions: Sessions) -> Made:
        if opens:
            pushed = open_batch(sessions, batch._replace(defaults=defaults), on_repeat=new.on_repeat)
        else:
            pushed = push_batch(sessions, batch, checked, on_repeat=new.on_repeat)
        if pushed.is_repeat:
            view = get_batch(sessions, pushed.batch.id, forecaster=forecaster)
        else:
            view = view_pushed_batch(
                sessions, pushed.batch, tenant=caller.tenant, cost=checked.cost, forecaster=forecaster
            )
        shown = BatchPushed.of(view, warnings=checked.warnings, repeated=pushed.is_repeat)
        return Made(shown, 200 if pushed.is_repeat else 201, links.batch(pushed.batch.name))

    return once.answer(make)


@router.post(
    "/batches/{name}/jobs",
    summary="Add jobs to an open batch",
    response_model=JobsAdded,
    **answers(PUSH, 201, "The jobs are stored and will be rendered.", bulk.JOBS_ADDED, *BODY_ERRORS, 404, 409),
    openapi_extra=takes_lines(JobOrder, MEDIA_TYPES, bulk.LINES),
)
def add(batch_id: BatchId, body: LinesBody, once: OnceDep) -> Response:
    """Store up to 100,000 jobs, one JSON object per line, all of them or none: plain, or with `Content-Encoding: gzip`.

    A line lacks what the `defaults` of the batch have. `client_ref` may be repeated, and then names no file. Files are
    sent to `POST /v1/uploads` first. 422 names the first 100 invalid lines and says how many there are.
    """
    sessions, max_jobs = once.runtime.sessions, once.runtime.settings.max_batch_jobs
    read = read_lines(read_batch(sessions, batch_id).defaults or {})
    with check_lines(body.file, read, is_gzip=body.is_gzip, max_jobs=max_jobs) as lines:

        def make(sessions: Sessions) -> Made:
            added = add_jobs(sessions, batch_id, lines, max_jobs=max_jobs)
            count, warnings = len(lines.numbers), lines.list_warnings()
            shown = JobsAdded.copy_from(added, added=count, jobs=added.last_number, cost=lines.cost, warnings=warnings)
            return Made(shown, 201, once.links.batch(added.batch))

        return once.answer(make)


@router.post(
    "/batches/{name}/seal",
    summary="Seal a batch",
    response_model=BatchDetails,
    **answers(PUSH, 200, "The batch, which takes no more jobs.", examples.BATCH, 404, 409, 422),
)
def seal(batch_id: BatchId, once: OnceDep) -> Response:
    """Let an open batch take no more jobs. It can end only then. Repeating the request changes nothing."""

    def make(sessions: Sessions) -> Made:
        seal_batch(sessions, batch_id)
        return Made(BatchDetails.of(get_batch(sessions, batch_id)), 200)

    return once.answer(make)


@router.get("/batches", summary="List batches", **answers(READ, 200, "A page of batches.", examples.BATCH_PAGE, 422))
def list_all(asked: Annotated[BatchesAsked, Query()], runtime: RuntimeDep, caller: CallerDep) -> BatchPage:
    """Batches, newest first."""
    page = list_batches(runtime.sessions, tenant_id=caller.reach, limit=asked.limit, before=asked.cursor)
    return BatchPage.of(page, BatchDetails.of)


@router.get("/batches/{name}", summary="Show a batch", **answers(READ, 200, "The batch.", examples.BATCH, 404))
def show(batch_id: BatchId, runtime: RuntimeDep) -> BatchDetails:
    """Summary of one batch: states, cost and time left."""
    view = get_batch(runtime.sessions, batch_id, forecaster=runtime.forecaster)
    return BatchDetails.of(
        view, folder=str(runtime.settings.get_artifacts_folder() / place_for(view.summary.tenant, view.summary.name))
    )


@router.get(
    "/batches/{name}/events",
    summary="Read a batch's history",
    **answers(READ, 200, "A page of events.", examples.BATCH_EVENT_PAGE, 404, 422),
)
def show_events(batch_id: BatchId, asked: Annotated[EventsAsked, Query()], runtime: RuntimeDep) -> EventPage:
    """Events of the batch as a whole, oldest first, such as that it was pushed, is at risk, or has ended."""
    page = list_batch_events(runtime.sessions, batch_id, limit=asked.limit, after=asked.cursor)
    return EventPage.of(page, EventSeen.copy_from)


@router.delete(
    "/batches/{name}",
    summary="Delete a batch",
    **answers(CHANGE, 202, "The batch, which is being removed.", examples.DELETED_BATCH, 404, 409),
)
def delete(batch_id: BatchId, runtime: RuntimeDep, caller: CallerDep) -> BatchDetails:
    """Remove the files of an ended batch now, and its rows once they are eight days old. This cannot be undone.

    Unverified files are removed, too. Its jobs can no longer be retried. Its name is free again once its last row is
    gone, and an hour after the deletion at the earliest. 409 if a job has not ended. Repeating the request changes
    nothing.
    """
    deleted = BatchDetails.of(delete_batch(runtime.sessions, batch_id, caller=caller))
    runtime.waker.wake()
    return deleted


@router.post(
    "/prune",
    summary="Remove old jobs",
    **answers(OPERATE, 200, "What was removed.", examples.PRUNED, *BODY_ERRORS),
    openapi_extra=takes(PruneAsked, older_than_ninety_days=examples.PRUNE),
)
def prune(asked: PruneBody, runtime: RuntimeDep, caller: CallerDep) -> PruneResult:
    """Remove jobs that ended more than `older_than_days` ago, with their predictions, events and files.

    Jobs of a batch are removed once the whole batch is that old. Unverified files stay, and so do their jobs; a job
    with a purchase of which something may still come stays as well. One request works for about five seconds: repeat it
    until `done`. Totals of the account keep the removed predictions.
    """
    return PruneResult.of(runtime, asked, caller)
