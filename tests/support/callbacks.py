"""Endpoints, events and deliveries for tests, and the steps between them, taken one by one."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select

from models import Delivery, Endpoint, transitions
from models.db.session import Sessions, one_statement, transaction
from models.transitions.callbacks.deliveries import ClaimedDelivery
from rushes.callbacks.creating import create_deliveries
from rushes.callbacks.deliver import CallbackDelayed, CallbackGivenUp, deliver
from rushes.callbacks.endpoints import EndpointView, create_endpoint
from rushes.events.horizon import Horizon
from rushes.runtime import Runtime
from tests.support import rows
from tests.support.access import EVERYONE
from tests.support.simulator_client import wait_until

LEASE = timedelta(seconds=15)


def add_endpoint(runtime: Runtime, url: str, *kinds: str) -> EndpointView:
    """An endpoint of the default tenant, for these kinds or the usual ones."""
    return create_endpoint(runtime.sessions, runtime.settings, url, kinds=list(kinds) or None, caller=EVERYONE)


def add_events(runtime: Runtime, *kinds: str, job_id: UUID | None = None) -> UUID:
    """A job, unless it is given, with an event of each of these kinds."""
    with transaction(runtime.sessions) as session:
        job_id = job_id or rows.add_job(session, "succeeded")
        for kind in kinds:
            rows.change(session, "job", job_id, priority=1)  # as every transition changes a row first
            rows.add_event(session, kind, job_id=job_id)
    return job_id


def create_all(runtime: Runtime, horizon: Horizon | None = None) -> None:
    """Create the deliveries of all events so far."""
    horizon = horizon or Horizon(runtime.sessions)
    wait_until(lambda: not create_deliveries(runtime, horizon) and horizon.measure_delay() == 0, "the feed's end")


def claim(sessions: Sessions, *, count: int = 100, threads: int = 100) -> list[ClaimedDelivery]:
    """Claim what is due, as the leader does."""
    with one_statement(sessions) as session:
        return transitions.deliveries.claim_deliveries(session, count=count, threads=threads, lease=LEASE)


def send_due(runtime: Runtime) -> int:
    """Claim and send all that is due now, one after the other. Returns how many were sent."""
    sent = 0
    while claimed := claim(runtime.sessions):
        sent += len(claimed)
        for each in claimed:
            send(runtime, each)
    return sent


def send(runtime: Runtime, claimed: ClaimedDelivery) -> str:
    """Send one; returns the line or the failure that Flower shows."""
    try:
        return deliver(runtime, claimed.id, claimed.claim)
    except (CallbackDelayed, CallbackGivenUp) as error:
        return f"{type(error).__name__}: {error}"


def list_deliveries(sessions: Sessions) -> Sequence[Delivery]:
    """All deliveries, oldest first."""
    with transaction(sessions) as session:
        return session.scalars(select(Delivery).order_by(Delivery.id)).all()


def get_endpoint_row(sessions: Sessions, endpoint_id: UUID) -> Endpoint:
    """The row of an endpoint as it is now."""
    with transaction(sessions) as session:
        return session.get_one(Endpoint, endpoint_id)


def make_due(runtime: Runtime, *, earlier: timedelta = timedelta(days=1)) -> None:
    """Let all waits be over."""
    with transaction(runtime.sessions) as session:
        rows.change(session, "delivery", Delivery.state == "pending", due_at=-earlier)
        rows.change(session, "endpoint", held_until=None)
