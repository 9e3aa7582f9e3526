"""The steps as Celery tasks: ids in, one line out for Flower, a named exception where an operator should see red."""

from uuid import UUID

from celery import shared_task

from models.db.errors import DatabaseAway
from rushes.monitoring import deadlines, status_line
from rushes.reconciling.duplicates import look_at_surplus, store_surplus
from rushes.reconciling.evidence import ReconcileFailed
from rushes.reconciling.reconcile import reconcile_account
from rushes.storing.steps import StoreDelayed, StoreFailed, StoreStopped
from rushes.storing.store import store_job
from rushes.submitting.submit import SubmitDeferred, SubmitNotSent, SubmitRefused, SubmitUnconfirmed, submit_prediction
from rushes.watching.poll import LookFailed, look_at_prediction
from rushes.watching.sweep import sweep_account
from workers.process import get_runtime
from workers.supervision.shutdown import is_told_to_end

SUBMIT_OUTCOMES = (SubmitDeferred, SubmitNotSent, SubmitRefused, SubmitUnconfirmed, DatabaseAway)
STORE_OUTCOMES = (StoreDelayed, StoreFailed, StoreStopped, DatabaseAway)
LOOK_OUTCOMES = (LookFailed, DatabaseAway)


@shared_task(name="render.submit", throws=SUBMIT_OUTCOMES)
def submit(prediction_id: str, claim: int) -> str:
    """Post one prediction, once."""
    return submit_prediction(get_runtime(), UUID(prediction_id), claim)


@shared_task(name="render.reconcile", throws=(ReconcileFailed, DatabaseAway))
def reconcile(account_id: str, claim: int) -> str:
    """Look for the submissions of an account whose answers were lost."""
    return reconcile_account(get_runtime(), UUID(account_id), claim)


@shared_task(name="watch.poll", throws=LOOK_OUTCOMES)
def poll(prediction_id: str, claim: int) -> str:
    """Look at one render."""
    return look_at_prediction(get_runtime(), UUID(prediction_id), claim)


@shared_task(name="watch.sweep", throws=LOOK_OUTCOMES)
def sweep(account_id: str, created_after: float, created_before: float) -> str:
    """Look at a page of the provider's list."""
    return sweep_account(get_runtime(), UUID(account_id), created_after=created_after, created_before=created_before)


@shared_task(name="watch.resume", throws=LOOK_OUTCOMES)
def resume(prediction_id: str, claim: int) -> str:
    """Go on watching a render whose watch window ended without a verdict."""
    return look_at_prediction(get_runtime(), UUID(prediction_id), claim)


@shared_task(name="render.store", throws=STORE_OUTCOMES)
def store(job_id: str, claim: int) -> str:
    """Copy one video."""
    return store_job(get_runtime(), UUID(job_id), claim, must_stop=is_told_to_end)


@shared_task(name="surplus.watch", throws=LOOK_OUTCOMES)
def watch_surplus(prediction_id: str, claim: int) -> str:
    """Look at a prediction that was found after it had been called absent."""
    return look_at_surplus(get_runtime(), UUID(prediction_id), claim)


@shared_task(name="surplus.store", throws=STORE_OUTCOMES)
def keep_surplus(prediction_id: str, claim: int) -> str:
    """Copy the video of such a one."""
    return store_surplus(get_runtime(), UUID(prediction_id), claim, must_stop=is_told_to_end)


@shared_task(name="queue.report", throws=(DatabaseAway,))
def report() -> str:
    """Tell the state of the farm to whoever watches Flower."""
    return status_line.describe_farm(get_runtime())


@shared_task(name="batch.check", throws=(DatabaseAway,))
def check_batches() -> str:
    """Hold the batches that are to end by some time against their forecasts."""
    return deadlines.check_risks(get_runtime())
