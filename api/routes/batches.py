"""Batches: price, push, follow."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api import examples
from api.deps import BatchBody, JobsBody, LinksDep, PersonDep, PruneBody, RuntimeDep
from api.openapi import BODY_ERRORS, answers, shows, takes
from api.schemas.batches import BatchDetails, BatchesAsked, BatchPage, BatchPushed, Price
from api.schemas.events import EventPage, EventsAsked, EventSeen
from api.schemas.orders import JobsToPrice, NewBatch
from api.schemas.pruning import PruneAsked, PruneResult
from api.schemas.values import TimeLeftEstimate
from rushes.jobs.batches import forecast_push, get_batch, list_batch_events, list_batches, view_pushed_batch
from rushes.jobs.pruning import delete_batch
from rushes.jobs.pushing import check_orders, push_batch

router = APIRouter(prefix="/v1", tags=["batches"])

BatchName = Annotated[str, Path(description="The batch's name or id.", examples=["pilot"])]


@router.post(
    "/estimate",
    summary="Price jobs",
    **answers(200, "The price of the jobs.", examples.PRICE, *BODY_ERRORS),
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
    **answers(
        201,
        "The batch is stored and will be rendered.",
        examples.PUSHED_BATCH,
        *(*BODY_ERRORS, 409, 503),
        also={200: {"model": BatchPushed, **shows("The same jobs were pushed before.", examples.REPEATED_BATCH)}},
    ),
    openapi_extra=takes(NewBatch, two_jobs=examples.NEW_BATCH, to_have_ended_by_a_time=examples.URGENT_BATCH),
)
def push(new: BatchBody, runtime: RuntimeDep, links: LinksDep, response: Response) -> BatchPushed:
    """Store up to 100,000 jobs under a name, all of them or none. A name that is taken is refused with 409.

    `on_repeat` makes a push safe to repeat after a broken connection: the batch that holds these jobs is returned with
    200 and `repeated`, and nothing is bought again.
    """
    limit = runtime.settings.max_batch_jobs
    pushed = push_batch(
        runtime.sessions, new.name, new.jobs, max_jobs=limit, finish_by=new.finish_by, on_repeat=new.on_repeat
    )
    response.headers["Location"] = links.batch(pushed.batch.name)
    warnings = pushed.checked.warnings
    if pushed.is_repeat:
        response.status_code = 200
        view = get_batch(runtime.sessions, str(pushed.batch.id), forecaster=runtime.forecaster)
    else:
        runtime.waker.wake()
        cost = pushed.checked.cost
        view = view_pushed_batch(runtime.sessions, pushed.batch, cost=cost, forecaster=runtime.forecaster)
    return BatchPushed.of(view, warnings=warnings, repeated=pushed.is_repeat)


@router.get("/batches", summary="List batches", **answers(200, "A page of batches.", examples.BATCH_PAGE, 422, 503))
def list_all(asked: Annotated[BatchesAsked, Query()], runtime: RuntimeDep) -> BatchPage:
    """Batches, newest first."""
    return BatchPage.of(list_batches(runtime.sessions, limit=asked.limit, before=asked.cursor), BatchDetails.of)


@router.get("/batches/{name}", summary="Show a batch", **answers(200, "The batch.", examples.BATCH, 404, 503))
def show(name: BatchName, runtime: RuntimeDep) -> BatchDetails:
    """Summary of one batch: states, cost and time left."""
    view = get_batch(runtime.sessions, name, forecaster=runtime.forecaster)
    return BatchDetails.of(view, folder=str(runtime.settings.get_artifacts_folder() / view.summary.name))


@router.get(
    "/batches/{name}/events",
    summary="Read a batch's history",
    **answers(200, "A page of events.", examples.BATCH_EVENT_PAGE, 404, 422, 503),
)
def show_events(name: BatchName, asked: Annotated[EventsAsked, Query()], runtime: RuntimeDep) -> EventPage:
    """Events of the batch as a whole, oldest first: it is at risk, or on track again."""
    page = list_batch_events(runtime.sessions, name, limit=asked.limit, after=asked.cursor)
    return EventPage.of(page, EventSeen.copy_from)


@router.delete(
    "/batches/{name}",
    summary="Delete a batch",
    **answers(202, "The batch, which is being removed.", examples.DELETED_BATCH, 404, 409, 503),
)
def delete(name: BatchName, runtime: RuntimeDep, person: PersonDep) -> BatchDetails:
    """Remove the files of an ended batch now, and its rows once they are eight days old. This cannot be undone.

    Unverified files are removed, too. Its jobs can no longer be retried. Its name is free again once its last row is
    gone, and an hour after the deletion at the earliest. 409 if a job has not ended. Repeating the request changes
    nothing.
    """
    deleted = BatchDetails.of(delete_batch(runtime.sessions, name, by=person))
    runtime.waker.wake()
    return deleted


@router.post(
    "/prune",
    summary="Remove old jobs",
    **answers(200, "What was removed.", examples.PRUNED, *BODY_ERRORS, 503),
    openapi_extra=takes(PruneAsked, older_than_ninety_days=examples.PRUNE),
)
def prune(asked: PruneBody, runtime: RuntimeDep) -> PruneResult:
    """Remove jobs that ended more than `older_than_days` ago, with their predictions, events and files.

    Jobs of a batch are removed once the whole batch is that old. Unverified files stay, and so do their jobs; a job
    with a purchase of which something may still come stays as well. One request works for about five seconds: repeat it
    until `done`. Totals of the account keep the removed predictions.
    """
    return PruneResult.of(runtime, asked)
