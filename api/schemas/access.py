"""Callers, tenants and keys, and the log of what operators did."""

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.schemas.values import Body, NumberCursor, PageShown, Shown, Time
from models import Scope
from models.queries.access.audit_log import EntryFilter
from rushes.access.callers import Caller
from rushes.access.tenants import KeyStatus, KeyView
from rushes.jobs.choosing import Moment

_DAY = 86_400.0


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


class NewTenant(Body):
    """A tenant to create."""

    name: Annotated[
        str, Field(description="1 to 40 letters, digits, dots, dashes or underscores; also the folder of its videos.")
    ]


class TenantShown(Shown):
    """A tenant."""

    id: UUID
    name: str
    created_at: Time
    disabled_at: Time | None = Field(description="Its keys are refused since then. Its jobs go on.")


TenantPage = PageShown[TenantShown]


class NewApiKey(Body):
    """A key to make."""

    tenant: Annotated[str, Field(description="Whose key it is: the tenant's name.")]
    name: Annotated[str, Field(description="For people, 1 to 60 printable characters. It need not be unique.")]
    scopes: Annotated[list[Annotated[Scope, Field(strict=False)]], Field(min_length=1, description="What it allows.")]
    expires_at: Annotated[AwareDatetime | None, Field(description="Without it, the key never expires.")] = None


class KeyRotation(Body):
    """How to replace a key."""

    overlap: Annotated[
        float, Field(ge=0, le=366 * _DAY, description="For how many seconds the old key still works, if not less.")
    ] = _DAY
    expires_at: Annotated[
        AwareDatetime | None, Field(description="Without it, the new key lives as long as the old one was to live.")
    ] = None


class KeyShown(Shown):
    """A key as it is stored, without the key itself."""

    id: UUID
    tenant: str
    name: str
    hint: str = Field(description="Its first and last characters.")
    scopes: list[Scope]
    status: KeyStatus = Field(description="`disabled`: its tenant is.")
    created_at: Time
    expires_at: Time | None = Field(description="Null: never.")
    last_used_at: Time | None = Field(description="To the minute.")
    revoked_at: Time | None

    @classmethod
    def of(cls, view: KeyView) -> Self:
        new = {"key": view.key, "old_expires_at": view.old_expires_at} if view.key else {}
        return cls.copy_from(view.row, tenant=view.tenant, status=view.status, **new)


KeyPage = PageShown[KeyShown]


class KeyMade(KeyShown):
    """A new key, with the key itself."""

    key: str | None = Field(description="The key. It is stored nowhere, so a repeated answer has null.")
    old_expires_at: Time | None = Field(description="When the key that it replaces expires; null if it replaces none.")


class EntriesAsked(BaseModel):
    """A page of the audit log."""

    model_config = ConfigDict(extra="forbid")

    key_id: UUID | None = Field(default=None, description="Only what this key did.")
    action: str | None = Field(
        default=None, pattern="^[a-z_.]{1,40}$", description="Only actions that begin so.", examples=["account."]
    )
    target: str | None = Field(default=None, pattern="^[!-~]{1,100}$", description="Only what was done to this.")
    since: Moment = Field(default=None, description="Only what was done at this time or later.")
    limit: int = Field(default=50, ge=1, le=500, description="Entries per page.")
    cursor: NumberCursor = Field(default=0, description="`next_cursor` of the previous page.")

    @property
    def chosen(self) -> EntryFilter:
        return EntryFilter(self.key_id, self.action, self.target, self.since)


class EntryShown(Shown):
    """What an operator or admin has done."""

    at: Time
    tenant_id: UUID | None = Field(description="Of the key. Null: a command on the database itself.")
    key_id: UUID | None
    by: str = Field(description="The key as TENANT/NAME, and before it the person, if a proxy with a login names one.")
    action: str = Field(description="Such as `account.pause`.")
    target: str = Field(description="What was changed: an id, or the name of an account or tenant.")
    before: dict[str, Any] | None = Field(description="The values that were changed, as they were.")
    after: dict[str, Any] | None = Field(description="The values since then.")


EntryPage = PageShown[EntryShown]
