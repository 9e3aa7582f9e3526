"""The steps as Celery tasks, and the process that runs them: its runtime, and whether it is shutting down.

A task takes ids and returns one line for Flower. It raises a named exception if Flower should show a failure (red), as
of a render without a video or a refused submission. Flower shows what Rushes tries again by itself as retried (yellow).
Celery itself repeats neither. The runtime is created at first use and never inherited across a fork.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from celery import shared_task
from celery.exceptions import Retry
from celery.worker import state as worker_state

from models.db.errors import DatabaseAway
from rushes.callbacks.deliver import CallbackDelayed, CallbackGivenUp, deliver
from rushes.errors import Unavailable
from rushes.jobs.pruning import prune_by_settings
from rushes.monitoring import reports
from rushes.reconciling.evidence import ReconcileFailed
from rushes.reconciling.reconcile import reconcile_account
from rushes.runtime import Runtime
from rushes.settings import load_settings
from rushes.storing.failures import StoreDelayed, StoreFailed, StoreStopped
from rushes.storing.store import store_outputs
from rushes.submitting.submit import SubmitBackedOff, SubmitNotSent, SubmitRefused, SubmitUnconfirmed, submit_prediction
from rushes.submitting.upload import UploadDelayed, UploadRefused
from rushes.watching.poll import CheckFailed, RenderFailed, check_prediction
from rushes.watching.sweep import sweep_account

REPEATED = (SubmitNotSent, UploadDelayed, CheckFailed, StoreDelayed, StoreStopped, CallbackDelayed)
SUBMIT_OUTCOMES = (SubmitBackedOff, SubmitRefused, SubmitUnconfirmed, UploadRefused, DatabaseAway)
STORE_OUTCOMES = (StoreFailed, DatabaseAway)
CHECK_OUTCOMES = (RenderFailed, DatabaseAway)

_lock = threading.Lock()
_runtimes: dict[int, Runtime] = {}


def get_runtime(*, threads: int = 10) -> Runtime:
    """The runtime of this process. The first call opens it, with connections for `threads` threads."""
    pid = os.getpid()
    with _lock:
        if pid not in _runtimes:
            _runtimes[pid] = Runtime.open(load_settings(), threads=threads, application="worker")
        return _runtimes[pid]


def close_runtime(**_: Any) -> None:
    """Close the connections of this process. The arguments of Celery's signal are not used."""
    with _lock:
        runtime = _runtimes.pop(os.getpid(), None)
    if runtime is not None:
        runtime.close()


def is_shutting_down() -> bool:
    """Whether this worker was sent SIGTERM, SIGINT or SIGQUIT."""
    # `is not None`: Celery sets these to an exit code, which may be 0.
    return worker_state.should_stop is not None or worker_state.should_terminate is not None


class TriedAgain(Retry):
    """Flower shows the step as retried, and the error. Celery publishes nothing: only `Task.retry` would."""

    def __repr__(self) -> str:
        return repr(self.exc)


@contextmanager
def _shown_as_retried() -> Iterator[None]:
    try:
        yield
    except REPEATED as error:
        raise TriedAgain(str(error), exc=error) from error


def _check(prediction_id: str, claim: int) -> str:
    with _shown_as_retried():
        return check_prediction(get_runtime(), UUID(prediction_id), claim)


@shared_task(name="render.submit", throws=SUBMIT_OUTCOMES)
def submit(prediction_id: str, claim: int) -> str:
    """Post one prediction, once."""
    with _shown_as_retried():
        return submit_prediction(get_runtime(), UUID(prediction_id), claim)


@shared_task(name="render.reconcile", throws=(ReconcileFailed, DatabaseAway))
def reconcile(account_id: str, claim: int) -> str:
    """Search for an account's submissions with lost answers."""
    return reconcile_account(get_runtime(), UUID(account_id), claim)


@shared_task(name="watch.poll", throws=CHECK_OUTCOMES)
def poll(prediction_id: str, claim: int) -> str:
    """Check one render."""
    return _check(prediction_id, claim)


@shared_task(name="watch.sweep", throws=CHECK_OUTCOMES)
def sweep(account_id: str, created_after: float, created_before: float) -> str:
    """Check a page of the provider's list."""
    runtime, account = get_runtime(), UUID(account_id)
    with _shown_as_retried():
        return sweep_account(runtime, account, created_after=created_after, created_before=created_before)


@shared_task(name="watch.resume", throws=CHECK_OUTCOMES)
def resume(prediction_id: str, claim: int) -> str:
    """Continue to watch a render after its watch window ended without an outcome."""
    return _check(prediction_id, claim)


@shared_task(name="render.store", throws=STORE_OUTCOMES)
def store(prediction_id: str, claim: int) -> str:
    """Copy one video, and then others that are due."""
    with _shown_as_retried():
        return store_outputs(get_runtime(), UUID(prediction_id), claim, must_stop=is_shutting_down)


@shared_task(name="callback.deliver", throws=(CallbackGivenUp, DatabaseAway))
def send_callback(delivery_id: int, claim: int) -> str:
    """Send one event to one endpoint."""
    with _shown_as_retried():
        return deliver(get_runtime(), delivery_id, claim)


@shared_task(name="queue.report", throws=(DatabaseAway,))
def report() -> str:
    """Report the state of the farm in one line for Flower."""
    return reports.describe_farm(get_runtime())


@shared_task(name="batch.check", throws=(DatabaseAway,))
def check_batches() -> str:
    """Compare the batches that have a `finish_by` with their forecasts."""
    return reports.check_risks(get_runtime())


@shared_task(name="queue.prune", throws=(DatabaseAway, Unavailable))
def prune() -> str:
    """Add to the daily totals; remove some of what is older than the settings say, and of deleted batches."""
    return prune_by_settings(get_runtime(), must_stop=is_shutting_down)
