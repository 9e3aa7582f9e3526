"""Callers, tenants and keys."""

from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field

from models import Scope
from rushes.access.callers import Caller


class Me(BaseModel):
    """The key that a request was made with."""

    tenant: str
    tenant_id: UUID
    key_id: UUID | None
    name: str = Field(description="How histories name this caller.")
    scopes: list[Scope]

    @classmethod
    def of(cls, caller: Caller) -> Self:
        return cls(
            tenant=caller.tenant,
            tenant_id=caller.tenant_id,
            key_id=caller.key_id,
            name=caller.by,
            scopes=[each for each in Scope if each in caller.scopes],
        )
