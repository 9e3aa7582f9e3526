"""The steps as Celery tasks. A task takes ids and returns one line for Flower. It raises a named exception if Flower
should show a failure."""

from uuid import UUID

from celery import shared_task

from models.db.errors import DatabaseAway
from rushes.monitoring import deadlines, status_line
from rushes.reconciling.evidence import ReconcileFailed
from rushes.reconciling.reconcile import reconcile_account
from rushes.storing.steps import StoreDelayed, StoreFailed, StoreStopped
from rushes.storing.store import store_output
from rushes.submitting.submit import SubmitBackedOff, SubmitNotSent, SubmitRefused, SubmitUnconfirmed, submit_prediction
from rushes.watching.poll import CheckFailed, check_prediction
from rushes.watching.sweep import sweep_account
from workers.process import get_runtime, is_shutting_down

SUBMIT_OUTCOMES = (SubmitBackedOff, SubmitNotSent, SubmitRefused, SubmitUnconfirmed, DatabaseAway)
STORE_OUTCOMES = (StoreDelayed, StoreFailed, StoreStopped, DatabaseAway)
CHECK_OUTCOMES = (CheckFailed, DatabaseAway)


@shared_task(name="render.submit", throws=SUBMIT_OUTCOMES)
def submit(prediction_id: str, claim: int) -> str:
    """Post one prediction, once."""
    return submit_prediction(get_runtime(), UUID(prediction_id), claim)


@shared_task(name="render.reconcile", throws=(ReconcileFailed, DatabaseAway))
def reconcile(account_id: str, claim: int) -> str:
    """Search for an account's submissions with lost answers."""
    return reconcile_account(get_runtime(), UUID(account_id), claim)


@shared_task(name="watch.poll", throws=CHECK_OUTCOMES)
def poll(prediction_id: str, claim: int) -> str:
    """Check one render."""
    return check_prediction(get_runtime(), UUID(prediction_id), claim)


@shared_task(name="watch.sweep", throws=CHECK_OUTCOMES)
def sweep(account_id: str, created_after: float, created_before: float) -> str:
    """Check a page of the provider's list."""
    return sweep_account(get_runtime(), UUID(account_id), created_after=created_after, created_before=created_before)


@shared_task(name="watch.resume", throws=CHECK_OUTCOMES)
def resume(prediction_id: str, claim: int) -> str:
    """Continue to watch a render after its watch window ended without an outcome."""
    return check_prediction(get_runtime(), UUID(prediction_id), claim)


@shared_task(name="render.store", throws=STORE_OUTCOMES)
def store(prediction_id: str, claim: int) -> str:
    """Copy one video."""
    return store_output(get_runtime(), UUID(prediction_id), claim, must_stop=is_shutting_down)


@shared_task(name="queue.report", throws=(DatabaseAway,))
def report() -> str:
    """Report the state of the farm in one line for Flower."""
    return status_line.describe_farm(get_runtime())


@shared_task(name="batch.check", throws=(DatabaseAway,))
def check_batches() -> str:
    """Compare the batches that have a `finish_by` with their forecasts."""
    return deadlines.check_risks(get_runtime())
