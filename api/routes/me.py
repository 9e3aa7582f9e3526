"""The caller itself."""

from fastapi import APIRouter

from api import examples
from api.access import CallerDep
from api.openapi import answers
from api.schemas.access import Me
from rushes.access.callers import ANY_KEY

router = APIRouter(prefix="/v1", tags=["access"])


@router.get("/me", summary="Show the caller", **answers(ANY_KEY, 200, "Tenant and scopes of the key.", examples.ME))
async def show(caller: CallerDep) -> Me:
    """The tenant, the name and the scopes of the key that the request was made with."""
    return Me.of(caller)
