"""Tenants and keys, the caller itself, and the log of what operators did."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response

from api import examples
from api.access import CallerDep
from api.deps import JOB_BYTES, RuntimeDep, body_of
from api.idempotency import Made, Once, OnceDep
from api.openapi import BODY_ERRORS, answers, takes
from api.schemas import access as schemas
from models.db.session import Sessions
from rushes.access import audit_entries, tenants
from rushes.access.callers import ADMIN, ANY_KEY, OBSERVE
from rushes.jobs.views import Page

router = APIRouter(prefix="/v1", tags=["access"])

_AT = "2026-11-05T12:00:00.000000Z"
_ID = "019a2b3c-4d5e-7f60-8123-456789abcde0"
_TENANT: examples.Json = {"id": _ID, "name": "acme", "created_at": _AT, "disabled_at": None}
_KEY: examples.Json = {
    "id": "019a2b3c-4d5e-7f60-8123-456789abcde1",
    "tenant": "acme",
    "name": "night renders",
    "hint": "rsh_live_7Qk2...x9Lf",
    "scopes": ["push", "read"],
    "status": "usable",
    "created_at": _AT,
    "expires_at": "2027-02-03T12:00:00.000000Z",
    "last_used_at": None,
    "revoked_at": None,
}
_MADE: examples.Json = {**_KEY, "key": "rsh_live_...", "old_expires_at": None}
_NEW_KEY: examples.Json = {
    "tenant": "acme",
    "name": "night renders",
    "scopes": ["push", "read"],
    "expires_at": "2027-11-05T12:00:00Z",
}
_ENTRY: examples.Json = {
    "at": _AT,
    "tenant_id": _ID,
    "key_id": _ID,
    "by": "default/mara",
    "action": "account.pause",
    "target": "default",
    "before": {"paused_reason": None, "person_paused_by": None},
    "after": {"paused_reason": "person", "person_paused_by": None},
}


def _page_of(item: examples.Json) -> examples.Json:
    return {"items": [item], "next_cursor": None}


TenantName = Annotated[str, Path(description="The tenant's name.", examples=["acme"])]
Switch = Annotated[Literal["disable", "enable"], Path(description="What to do.")]
TenantBody = Annotated[schemas.NewTenant, Depends(body_of(schemas.NewTenant, limit_bytes=JOB_BYTES))]
KeyBody = Annotated[schemas.NewApiKey, Depends(body_of(schemas.NewApiKey, limit_bytes=JOB_BYTES))]
RotationBody = Annotated[schemas.KeyRotation, Depends(body_of(schemas.KeyRotation, limit_bytes=JOB_BYTES))]
KeyId = Annotated[UUID, Path(description="The key's id.", examples=[_KEY["id"]])]


@router.get("/me", summary="Show the caller", **answers(ANY_KEY, 200, "Tenant and scopes of the key.", examples.ME))
async def show(caller: CallerDep) -> schemas.Me:
    """The tenant, the name and the scopes of the key that the request was made with."""
    return schemas.Me.of(caller)


@router.get("/tenants", summary="List tenants", **answers(ADMIN, 200, "All tenants.", _page_of(_TENANT)))
def list_tenants(runtime: RuntimeDep) -> schemas.TenantPage:
    """All tenants, oldest first, also those that are disabled."""
    return schemas.TenantPage.of(Page(tenants.list_tenants(runtime.sessions), None), schemas.TenantShown.model_validate)


@router.post(
    "/tenants",
    summary="Create a tenant",
    response_model=schemas.TenantShown,
    **answers(ADMIN, 201, "The tenant.", _TENANT, *BODY_ERRORS, 409),
    openapi_extra=takes(schemas.NewTenant, a_tenant={"name": "acme"}),
)
def create_tenant(new: TenantBody, once: OnceDep) -> Response:
    """Create a tenant, which sees only its own jobs and batches. A name that is taken, in any case, is refused."""

    def make(sessions: Sessions) -> Made:
        tenant = tenants.create_tenant(sessions, new.name, caller=once.caller)
        return Made(schemas.TenantShown.model_validate(tenant), 201)

    return once.answer(make)


@router.post(
    "/tenants/{name}/{change}",
    summary="Disable or enable a tenant",
    **answers(ADMIN, 200, "The tenant.", {**_TENANT, "disabled_at": _AT}, 404, 409, 422),
)
def switch_tenant(name: TenantName, change: Switch, runtime: RuntimeDep, caller: CallerDep) -> schemas.TenantShown:
    """Refuse the tenant's keys, within two seconds in every process, or accept them again. Its jobs go on.

    409 if this is done already, or if no usable key with the scope `admin` would be left.
    """
    tenant = tenants.switch_tenant(runtime.sessions, name, is_enabled=change == "enable", caller=caller)
    return schemas.TenantShown.model_validate(tenant)


@router.get("/keys", summary="List keys", **answers(ADMIN, 200, "The keys.", _page_of(_KEY), 404))
def list_keys(
    runtime: RuntimeDep, tenant: Annotated[str | None, Query(description="Only the keys of this tenant.")] = None
) -> schemas.KeyPage:
    """Keys, oldest first, also those that are expired or revoked. The keys themselves are stored nowhere."""
    return schemas.KeyPage.of(Page(tenants.list_keys(runtime.sessions, tenant=tenant), None), schemas.KeyShown.of)


@router.post(
    "/keys",
    summary="Make a key",
    response_model=schemas.KeyMade,
    **answers(ADMIN, 201, "The key. It is shown only now.", _MADE, *BODY_ERRORS, 404, 409),
    openapi_extra=takes(schemas.NewApiKey, for_a_year=_NEW_KEY),
)
def create_key(new: KeyBody, once: OnceDep) -> Response:
    """Make a key of a tenant. Keep the answer's `key` in a safe place: nobody can read it again."""
    return _show_once(once, lambda sessions: tenants.create_key(sessions, **dict(new), caller=once.caller))


def _show_once(once: Once, make: Callable[[Sessions], tenants.KeyView]) -> Response:
    """Answer with a new key. The key itself is not kept for a repeated answer."""
    answer = once.answer(lambda sessions: Made(schemas.KeyMade.of(make(sessions)), 201), secret=frozenset({"key"}))
    answer.headers["Cache-Control"] = "no-store"
    return answer


@router.post(
    "/keys/{key_id}/rotate",
    summary="Rotate a key",
    response_model=schemas.KeyMade,
    **answers(ADMIN, 201, "The new key. It is shown only now.", _MADE, *BODY_ERRORS, 404, 409),
    openapi_extra=takes(schemas.KeyRotation, within_a_day={}, within_an_hour={"overlap": 3600}),
)
def rotate_key(*, key_id: KeyId, asked: RotationBody, once: OnceDep) -> Response:
    """Make a key with the same tenant, name and scopes. The old one works for 24 hours more, or for `overlap`.

    A key that is revoked or expired is refused with 409.
    """
    rotate = partial(
        tenants.rotate_key,
        key_id=key_id,
        overlap=timedelta(seconds=asked.overlap),
        expires_at=asked.expires_at,
        caller=once.caller,
    )
    return _show_once(once, rotate)


@router.post(
    "/keys/{key_id}/revoke",
    summary="Revoke a key",
    **answers(ADMIN, 200, "The key.", {**_KEY, "status": "revoked", "revoked_at": _AT}, 404, 409, 422),
)
def revoke_key(key_id: KeyId, runtime: RuntimeDep, caller: CallerDep) -> schemas.KeyShown:
    """Refuse the key, within two seconds in every process. This cannot be undone.

    409 if it is revoked already, or if no usable key with the scope `admin` would be left.
    """
    return schemas.KeyShown.of(tenants.revoke_key(runtime.sessions, key_id, caller=caller))


@router.get("/audit-log", summary="Read the audit log", **answers(OBSERVE, 200, "Entries.", _page_of(_ENTRY), 422))
def list_entries(asked: Annotated[schemas.EntriesAsked, Query()], runtime: RuntimeDep) -> schemas.EntryPage:
    """Every change that was made by a scope that reaches all tenants, newest first: who, what, before and after.

    Changes that a tenant's key makes to its own jobs are in the histories of the jobs. Entries are kept for ever.
    """
    before = asked.cursor or None
    page = audit_entries.list_entries(runtime.sessions, asked.chosen, limit=asked.limit, before=before)
    return schemas.EntryPage.of(page, schemas.EntryShown.model_validate)
