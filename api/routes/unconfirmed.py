"""A person's decisions about purchases: unconfirmed submissions, and renders that do not end."""

from fastapi import APIRouter

from api import examples
from api.access import CallerDep
from api.deps import AbandonmentBody, AdoptionBody, LinksDep, PredictionId, RuntimeDep
from api.openapi import BODY_ERRORS, answers, takes
from api.schemas.jobs import JobDetails
from api.schemas.unconfirmed import Abandonment, Adoption, UnconfirmedList
from rushes.access.callers import OBSERVE, OPERATE
from rushes.jobs.views import get_job
from rushes.reconciling import operator_decisions

router = APIRouter(prefix="/v1", tags=["unconfirmed"])


@router.get(
    "/unconfirmed",
    summary="List unconfirmed submissions",
    **answers(OBSERVE, 200, "The submissions that are unconfirmed now.", examples.UNCONFIRMED),
)
def list_all(runtime: RuntimeDep) -> UnconfirmedList:
    """Submissions with a lost answer, oldest first. The workers keep searching for them in the provider's list."""
    return UnconfirmedList.of(operator_decisions.list_unconfirmed(runtime.sessions))


@router.post(
    "/predictions/{prediction_id}/adopt",
    summary="Adopt an unconfirmed submission",
    **answers(OPERATE, 200, "The job, now rendering.", examples.ADOPTED_JOB, *BODY_ERRORS, 404, 409),
    openapi_extra=takes(Adoption, found_by_hand=examples.ADOPTION),
)
def adopt(
    *, prediction_id: PredictionId, asked: AdoptionBody, runtime: RuntimeDep, links: LinksDep, caller: CallerDep
) -> JobDetails:
    """Assign one of the provider's predictions to this submission. It is then watched and stored like any other.

    The API does not ask the provider, so check the provider's website first. A prediction that is not `unconfirmed`, or
    an id that belongs to another submission, is refused with 409.
    """
    job_id = operator_decisions.adopt_unconfirmed(
        runtime.sessions,
        prediction_id,
        provider_id=asked.provider_id,
        watch_window=runtime.settings.watch_window,
        caller=caller,
    )
    runtime.waker.wake()
    return JobDetails.of(get_job(runtime.sessions, job_id), links)


@router.post(
    "/predictions/{prediction_id}/dismiss",
    summary="Mark an unconfirmed submission as not found",
    **answers(OPERATE, 200, "The job, queued again or failed.", examples.QUEUED_AGAIN_JOB, 404, 409, 422),
)
def dismiss(*, prediction_id: PredictionId, runtime: RuntimeDep, links: LinksDep, caller: CallerDep) -> JobDetails:
    """State that the provider never accepted this submission. Its job is queued again and loses no attempt.

    The job fails instead if posting it has killed three workers (`submit_killed_worker`).

    If the provider did accept it, the job is paid for twice. Anything that is not `unconfirmed` is refused with 409.
    """
    job_id = operator_decisions.dismiss_unconfirmed(runtime.sessions, prediction_id, caller=caller)
    runtime.waker.wake()
    return JobDetails.of(get_job(runtime.sessions, job_id), links)


@router.post(
    "/predictions/{prediction_id}/abandon",
    summary="Abandon a render",
    **answers(OPERATE, 200, "The job, queued again or failed.", examples.ABANDONED_JOB, *BODY_ERRORS, 404, 409),
    openapi_extra=takes(Abandonment, knowing_the_cost=examples.ABANDONMENT),
)
def abandon(
    *, prediction_id: PredictionId, asked: AbandonmentBody, runtime: RuntimeDep, links: LinksDep, caller: CallerDep
) -> JobDetails:
    """Give up a render that outlived its watch window. It ends as `lost`, counts as spent, and frees its slot.

    The provider cannot be notified and may still bill the render. The job is bought again if it has attempts left;
    otherwise it fails. Without `accept_double_cost` the request is refused with 422, which names the cost.
    """
    job_id = operator_decisions.abandon_prediction(
        runtime.sessions, prediction_id, accept_double_cost=asked.accept_double_cost, caller=caller
    )
    runtime.waker.wake()
    return JobDetails.of(get_job(runtime.sessions, job_id), links)
