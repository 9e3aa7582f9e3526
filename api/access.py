"""Who may call a route: each one declares what it needs, and is entered only with a key that allows it."""

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.exc import ProgrammingError
from starlette.concurrency import run_in_threadpool

from rushes.access.callers import OBSERVE, Caller, KeyRing, Need, require
from rushes.errors import Forbidden, Unauthenticated

_BEARER = HTTPBearer(auto_error=False, scheme_name="key", description="An API key: `rsh_live_...`.")
_HEADER = APIKeyHeader(
    name="X-Api-Key",
    auto_error=False,
    scheme_name="key in a header of its own",
    description="The same, where a proxy takes `Authorization` for a login of its own.",
)
_USER_LENGTH = 60


async def read_key(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    header: Annotated[str | None, Security(_HEADER)],
) -> str | None:
    """Return the key that a request has in one of the two headers."""
    return header or (bearer.credentials if bearer else None)


KeyDep = Annotated[str | None, Depends(read_key)]


@dataclass(frozen=True)
class Guard:
    """The dependency of a route that lets only callers in who have what it needs."""

    need: Need

    async def __call__(self, request: Request, key: KeyDep) -> None:
        """Find the caller before the body is read. Raises `Unauthenticated` or `Forbidden`."""
        caller = await find_caller(request, key)
        reaches_all = require(caller, self.need)
        request.state.caller = replace(caller, by=_name(request, caller), reaches_all=reaches_all)


async def find_caller(request: Request, key: str | None) -> Caller:
    """Return the caller with this key. Raises `Unauthenticated`."""
    if key is None:
        raise Unauthenticated("this needs an API key: send the header `Authorization: Bearer rsh_live_...`")
    ring: KeyRing = request.app.state.keys
    known = ring.recall(key)
    return known if known is not None else await run_in_threadpool(ring.find, key)


async def get_caller(request: Request) -> Caller:
    """Return the caller that the route's guard has let in."""
    caller: Caller = request.state.caller
    return caller


async def may_observe(request: Request, key: str | None, *, is_database_away: bool) -> bool:
    """Return whether the request has a key that may read the account. Raises `Unauthenticated` for a wrong key.

    While the database is away, the keys that this process has just seen are known.
    """
    if key is None:
        return False
    try:
        ring: KeyRing = request.app.state.keys
        caller = ring.recall(key, is_database_away=True) if is_database_away else await find_caller(request, key)
        return caller is not None and require(caller, OBSERVE)
    except (Forbidden, ProgrammingError):  # before its migrations, the database has no keys
        return False


def _name(request: Request, caller: Caller) -> str:
    """Name the caller for histories: the key, and before it the user that a trusted proxy with a login names."""
    user = request.headers.get("x-forwarded-user", "").strip() if request.scope.get("via_trusted_proxy") else ""
    return f"{user[:_USER_LENGTH]} with {caller.by}" if user else caller.by


CallerDep = Annotated[Caller, Depends(get_caller)]
