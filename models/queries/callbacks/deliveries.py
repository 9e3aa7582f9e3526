"""Deliveries, newest first."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select, true
from sqlalchemy.orm import Session, aliased

from models.tables.callbacks.delivery import Delivery
from models.tables.callbacks.endpoint import Endpoint


class DeliveryFilter(NamedTuple):
    """What a delivery must have, all of it. None does not filter."""

    tenant_id: UUID | None = None
    endpoint_id: UUID | None = None
    job_id: UUID | None = None
    state: str | None = None


def list_deliveries(session: Session, chosen: DeliveryFilter, *, limit: int, before: int | None) -> Sequence[Delivery]:
    """Deliveries, newest first. `before` is the last id of the previous page."""
    # For each endpoint its newest: a tenant has few endpoints, and the deliveries of others are not read.
    newest = select(Delivery).where(Delivery.endpoint_id == Endpoint.id).order_by(Delivery.id.desc()).limit(limit)
    newest = newest.where(Delivery.id < before) if before is not None else newest
    newest = newest.where(Delivery.job_id == chosen.job_id) if chosen.job_id is not None else newest
    newest = newest.where(Delivery.state == chosen.state) if chosen.state is not None else newest
    each = aliased(Delivery, newest.correlate(Endpoint).lateral())
    query = select(each).join_from(Endpoint, each, true()).where(Endpoint.deleted_at.is_(None))
    query = query.where(Endpoint.tenant_id == chosen.tenant_id) if chosen.tenant_id is not None else query
    query = query.where(Endpoint.id == chosen.endpoint_id) if chosen.endpoint_id is not None else query
    return session.scalars(query.order_by(each.id.desc()).limit(limit)).all()


def find_delivery(session: Session, webhook_id: str) -> tuple[Delivery, Endpoint] | None:
    """The delivery with this id, with its endpoint."""
    query = select(Delivery, Endpoint).join(Endpoint, Endpoint.id == Delivery.endpoint_id)
    row = session.execute(query.where(Delivery.webhook_id == webhook_id, Endpoint.deleted_at.is_(None))).first()
    return (row[0], row[1]) if row is not None else None
