"""What a person decides about purchases: unconfirmed submissions, and renders that do not end."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path

from api import examples
from api.deps import AbandonmentBody, AdoptionBody, LinksDep, PersonDep, RuntimeDep
from api.openapi import problems, shows, takes
from api.schemas.jobs import JobDetails
from api.schemas.unconfirmed import Abandonment, Adoption, UnconfirmedList
from rushes.jobs.views import get_job
from rushes.reconciling.operator_decisions import (
    abandon_prediction,
    adopt_unconfirmed,
    dismiss_unconfirmed,
    list_unconfirmed,
)

router = APIRouter(prefix="/v1", tags=["unconfirmed"])

PredictionId = Annotated[UUID, Path(description="The prediction's id.", examples=[examples.PREDICTION_ID])]


@router.get(
    "/unconfirmed",
    summary="List unconfirmed submissions",
    responses={200: shows("What is unconfirmed now.", examples.UNCONFIRMED), **problems(503)},
)
def list_all(runtime: RuntimeDep) -> UnconfirmedList:
    """Submissions whose answer was lost, oldest first. They are searched for in the provider's list all the time."""
    return UnconfirmedList.of(list_unconfirmed(runtime.sessions))


@router.post(
    "/predictions/{prediction_id}/adopt",
    summary="Adopt an unconfirmed submission",
    responses={
        200: shows("The job, which renders.", examples.ADOPTED_JOB),
        **problems(400, 404, 409, 413, 415, 422, 503),
    },
    openapi_extra=takes(Adoption, found_by_hand=examples.ADOPTION),
)
def adopt(
    *, prediction_id: PredictionId, asked: AdoptionBody, runtime: RuntimeDep, links: LinksDep, person: PersonDep
) -> JobDetails:
    """Say which of the provider's predictions this submission became. It is watched and stored like any other.

    The provider is not asked: check its page first. A prediction that is not `unconfirmed`, or an id that belongs
    to another submission, is refused with 409.
    """
    job_id = adopt_unconfirmed(
        runtime.sessions,
        prediction_id,
        provider_id=asked.provider_id,
        watch_window=runtime.settings.watch_window,
        by=person,
    )
    runtime.waker.wake()
    return JobDetails.of(get_job(runtime.sessions, job_id), links)


@router.post(
    "/predictions/{prediction_id}/dismiss",
    summary="Mark an unconfirmed submission as not found",
    responses={
        200: shows("The job, queued again or failed.", examples.QUEUED_AGAIN_JOB),
        **problems(404, 409, 422, 503),
    },
)
def dismiss(*, prediction_id: PredictionId, runtime: RuntimeDep, links: LinksDep, person: PersonDep) -> JobDetails:
    """Say that the provider never accepted this submission: its job is queued again and no attempt is lost.

    The job fails instead where posting it has killed three workers (`submit_killed_worker`).

    If it was accepted after all, the job is paid for twice. Anything that is not `unconfirmed` is refused with 409.
    """
    job_id = dismiss_unconfirmed(runtime.sessions, prediction_id, by=person)
    runtime.waker.wake()
    return JobDetails.of(get_job(runtime.sessions, job_id), links)


@router.post(
    "/predictions/{prediction_id}/abandon",
    summary="Abandon a render",
    responses={
        200: shows("The job, queued again or failed.", examples.ABANDONED_JOB),
        **problems(400, 404, 409, 413, 415, 422, 503),
    },
    openapi_extra=takes(Abandonment, knowing_the_cost=examples.ABANDONMENT),
)
def abandon(
    *, prediction_id: PredictionId, asked: AbandonmentBody, runtime: RuntimeDep, links: LinksDep, person: PersonDep
) -> JobDetails:
    """Give up a render that outlived its watch window. It ends as `lost`, counted as spent, and its slot is free.

    The provider cannot be told and may still bill it. The job is bought again while it has attempts left, else it
    fails. Without `accept_double_cost` it is refused with 422, which names the cost.
    """
    job_id = abandon_prediction(runtime.sessions, prediction_id, accept_double_cost=asked.accept_double_cost, by=person)
    runtime.waker.wake()
    return JobDetails.of(get_job(runtime.sessions, job_id), links)
