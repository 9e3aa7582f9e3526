"""Endpoints: where a tenant's callbacks go. A secret is shown once, when it is made."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy.orm import Session

from models import Delivery, Endpoint, queries, transitions
from models.db.session import Sessions, transaction
from models.transitions.callbacks.endpoints import NewEndpoint
from rushes.access.audit_log import record, recorded
from rushes.access.callers import Caller
from rushes.callbacks.guarded_requests import check_url
from rushes.callbacks.kinds import DEFAULT, check_kinds
from rushes.callbacks.schedule import GIVE_UP
from rushes.callbacks.signatures import make_secret
from rushes.errors import Conflict, InvalidInput, NotFound, Problem
from rushes.network import AllowedPlaces
from rushes.settings import Settings

MOST_ENDPOINTS = 20
"""Of one tenant."""
URL_LIMIT = 2_000


@dataclass(frozen=True, slots=True)
class EndpointView:
    """An endpoint with its tenant's name, and its secret if it was made just now."""

    row: Endpoint
    tenant: str
    secret: str | None = field(default=None, repr=False)


def create_endpoint(
    sessions: Sessions, settings: Settings, url: str, *, kinds: Sequence[str] | None, caller: Caller
) -> EndpointView:
    """Create an endpoint of the caller's tenant, which gets the events from now on.

    Raises `InvalidInput`, or `Conflict` if the tenant has `MOST_ENDPOINTS`.
    """
    chosen = _check(url, DEFAULT if kinds is None else kinds, allow=settings.url_allow)
    new = NewEndpoint(caller.tenant_id, chosen, url, make_secret())
    with transaction(sessions) as session:
        row = transitions.endpoints.insert_endpoint(session, new, most=MOST_ENDPOINTS)
        if row is None:
            raise Conflict(f"tenant {caller.tenant!r} has {MOST_ENDPOINTS} endpoints, the most that it can have")
        after = {"kinds": chosen, "host": urlsplit(url).hostname}
        record(session, caller, "endpoint.create", row.id, after=after)
    return EndpointView(row, caller.tenant, new.secret)


def _check(url: str, kinds: Sequence[str], *, allow: str) -> list[str]:
    """Return the kinds. Raises `InvalidInput` that names the wrong fields."""
    problems = []
    try:
        _check_receiver(url, allow=allow)
    except ValueError as error:
        problems.append(Problem("url", str(error)))
    try:
        chosen = check_kinds(kinds)
    except ValueError as error:
        problems.append(Problem("kinds", str(error)))
    if problems:
        raise InvalidInput(problems)
    return chosen


def _check_receiver(url: str, *, allow: str) -> None:
    parts = check_url(url)
    if len(url) > URL_LIMIT:
        raise ValueError(f"must have at most {URL_LIMIT:,} characters")
    if parts.scheme != "https" and not AllowedPlaces.parse(allow).names_host(parts.hostname or ""):
        raise ValueError("must be an https URL: http is only for the private places of RUSHES_URL_ALLOW")


def list_endpoints(sessions: Sessions, caller: Caller) -> list[EndpointView]:
    """List the endpoints of the tenants that the caller reaches, oldest first."""
    with transaction(sessions) as session:
        rows = queries.endpoints.list_endpoints(session, tenant_id=caller.reach)
        names = queries.keys.name_tenants(session, {each.tenant_id for each in rows})
    return [EndpointView(each, names[each.tenant_id]) for each in rows]


def get_endpoint(sessions: Sessions, endpoint_id: UUID, *, caller: Caller) -> EndpointView:
    """Return one endpoint. Raises `NotFound`, also for one that the caller may not see."""
    with transaction(sessions) as session:
        return _view(session, require_endpoint(session, endpoint_id, caller))


def rotate_endpoint(sessions: Sessions, endpoint_id: UUID, *, overlap: timedelta, caller: Caller) -> EndpointView:
    """Make a new secret. Callbacks are signed with the old one too during the overlap.

    Raises `NotFound`, or `Conflict` if an overlap runs, unless the new one is 0: it would end the older secret.
    """
    secret = make_secret()
    with transaction(sessions) as session:
        row = require_endpoint(session, endpoint_id, caller)
        with recorded(session, caller, "endpoint.rotate", row, "old_secret_until"):
            if not transitions.endpoints.rotate_secret(session, endpoint_id, secret=secret, overlap=overlap):
                raise Conflict(f"endpoint {endpoint_id} was rotated: wait for `old_secret_until`, or send `overlap` 0")
        session.refresh(row)
        return EndpointView(row, _view(session, row).tenant, secret)


def switch_endpoint(sessions: Sessions, endpoint_id: UUID, *, is_enabled: bool, caller: Caller) -> EndpointView:
    """Send callbacks to it again, or none. Raises `NotFound`, or `Conflict` if that is so already."""
    word = "enable" if is_enabled else "disable"
    switch = transitions.endpoints.enable_endpoint if is_enabled else transitions.endpoints.disable_endpoint
    with transaction(sessions) as session:
        row = require_endpoint(session, endpoint_id, caller)
        with recorded(session, caller, f"endpoint.{word}", row, "disabled_at", "disabled_reason"):
            if not switch(session, endpoint_id):
                raise Conflict(f"endpoint {endpoint_id} is {word}d already")
        session.refresh(row)
        return _view(session, row)


def delete_endpoint(sessions: Sessions, endpoint_id: UUID, *, caller: Caller) -> EndpointView:
    """Delete an endpoint and its deliveries. Raises `NotFound`."""
    with transaction(sessions) as session:
        row = require_endpoint(session, endpoint_id, caller)
        with recorded(session, caller, "endpoint.delete", row, "deleted_at"):
            transitions.endpoints.delete_endpoint(session, endpoint_id)
        return _view(session, row)


def test_endpoint(sessions: Sessions, settings: Settings, endpoint_id: UUID, *, caller: Caller) -> Delivery:
    """Send a callback that is about no event, at once. Raises `NotFound`, or `Conflict` if it is disabled."""
    with transaction(sessions) as session:
        require_endpoint(session, endpoint_id, caller)
        give_up = GIVE_UP * settings.callback_time_scale
        delivery = transitions.deliveries.insert_test(session, endpoint_id, give_up=give_up)
        if delivery is None:
            raise Conflict(f"endpoint {endpoint_id} is disabled: enable it first")
        record(session, caller, "endpoint.test", endpoint_id)
    return delivery


def require_endpoint(session: Session, endpoint_id: UUID, caller: Caller) -> Endpoint:
    """Return an endpoint. Raises `NotFound`, also for one that the caller may not see."""
    row = queries.endpoints.find_endpoint(session, endpoint_id)
    if row is None or not caller.may_see(row.tenant_id):
        raise NotFound(f"there is no endpoint {endpoint_id}")
    return row


def _view(session: Session, row: Endpoint) -> EndpointView:
    return EndpointView(row, queries.keys.name_tenants(session, {row.tenant_id})[row.tenant_id])
