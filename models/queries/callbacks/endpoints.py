"""Endpoints that are not deleted."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.tables.callbacks.endpoint import Endpoint


def list_endpoints(session: Session, *, tenant_id: UUID | None) -> Sequence[Endpoint]:
    """The endpoints of a tenant, or all, oldest first."""
    query = select(Endpoint).where(Endpoint.deleted_at.is_(None)).order_by(Endpoint.id)
    return session.scalars(query if tenant_id is None else query.where(Endpoint.tenant_id == tenant_id)).all()


def find_endpoint(session: Session, endpoint_id: UUID) -> Endpoint | None:
    """The endpoint with this id."""
    return session.scalars(select(Endpoint).where(Endpoint.id == endpoint_id, Endpoint.deleted_at.is_(None))).first()
