"""Deliveries as people see them: listed, shown, sent again."""

from uuid import UUID

from sqlalchemy.orm import Session

from models import Delivery, DeliveryState, queries, transitions
from models.db.session import Sessions, transaction
from models.queries.callbacks.deliveries import DeliveryFilter
from rushes.access.audit_log import record
from rushes.access.callers import Caller
from rushes.callbacks.endpoints import require_endpoint
from rushes.callbacks.schedule import GIVE_UP
from rushes.errors import Conflict, InvalidInput, NotFound, Problem
from rushes.jobs.choosing import find_job_id
from rushes.jobs.views import Page, cut_page
from rushes.settings import Settings


def list_deliveries(
    sessions: Sessions,
    caller: Caller,
    *,
    endpoint_id: UUID | None = None,
    job: str | None = None,
    state: DeliveryState | None = None,
    page: tuple[int, int | None],
) -> Page[Delivery, int]:
    """List deliveries of the tenants that the caller reaches, newest first. `page` is its limit and where it begins.

    Raises `NotFound` for an unknown endpoint or job.
    """
    limit, before = page
    with transaction(sessions) as session:
        if endpoint_id is not None:
            require_endpoint(session, endpoint_id, caller)
        job_id = _find_job(session, job, caller) if job is not None else None
        chosen = DeliveryFilter(caller.reach, endpoint_id, job_id, state.value if state else None)
        found = queries.deliveries.list_deliveries(session, chosen, limit=limit + 1, before=before)
    return cut_page(found, limit=limit, key=lambda delivery: delivery.id)


def _find_job(session: Session, words: str, caller: Caller) -> UUID:
    try:
        return find_job_id(session, words, caller)
    except InvalidInput as error:
        raise InvalidInput([Problem("job", each.message) for each in error.problems]) from None


def get_delivery(sessions: Sessions, webhook_id: str, *, caller: Caller) -> Delivery:
    """Return one delivery. Raises `NotFound`, also for one that the caller may not see."""
    with transaction(sessions) as session:
        return _require_delivery(session, webhook_id, caller)


def resend_delivery(sessions: Sessions, settings: Settings, webhook_id: str, *, caller: Caller) -> Delivery:
    """Send a delivery at once with the same id, whatever became of it; the retries start again.

    Raises `NotFound`, or `Conflict` if it is being sent or its endpoint is disabled.
    """
    with transaction(sessions) as session:
        delivery = _require_delivery(session, webhook_id, caller)
        if require_endpoint(session, delivery.endpoint_id, caller).disabled_at is not None:
            raise Conflict(f"endpoint {delivery.endpoint_id} is disabled: enable it first")
        before = {"state": delivery.state, "attempts": delivery.attempts}
        give_up = GIVE_UP * settings.callback_time_scale
        if not transitions.deliveries.resend(session, delivery.id, give_up=give_up):
            raise Conflict(f"delivery {webhook_id} is being sent now")
        session.refresh(delivery)
        record(session, caller, "delivery.resend", webhook_id, before=before, after={"state": delivery.state})
    return delivery


def _require_delivery(session: Session, webhook_id: str, caller: Caller) -> Delivery:
    found = queries.deliveries.find_delivery(session, webhook_id)
    if found is None or not caller.may_see(found[1].tenant_id):
        raise NotFound(f"there is no delivery {webhook_id[:80]!r}")
    return found[0]
