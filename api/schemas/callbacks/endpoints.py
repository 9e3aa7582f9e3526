"""Endpoints: what is asked for, and what is shown of them."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field

from api.schemas.values import Body, PageShown, Shown, Time
from models import DisabledReason
from rushes.callbacks.endpoints import EndpointView
from rushes.callbacks.kinds import DEFAULT, GROUPS

_DAY = 86_400.0


class NewEndpointAsked(Body):
    """An endpoint to create."""

    url: Annotated[
        str,
        Field(description="Where callbacks are posted: a public https address. Its path and query may hold a secret."),
    ]
    kinds: Annotated[
        list[str] | None,
        Field(
            description=f"Kinds of events, or groups of them: {', '.join(GROUPS)}. Without it: {', '.join(DEFAULT)}.",
            examples=[["job.*"]],
        ),
    ] = None


class SecretRotation(Body):
    """How to replace the secret of an endpoint."""

    overlap: Annotated[
        float, Field(ge=0, le=7 * _DAY, description="For how many seconds callbacks have two signatures.")
    ] = _DAY


class EndpointShown(Shown):
    """An endpoint, without its secret."""

    id: UUID
    tenant: str
    url: str
    kinds: list[str]
    created_at: Time
    disabled_at: Time | None = Field(description="It gets no callbacks since then.")
    disabled_reason: DisabledReason | None = Field(
        description="`person`: somebody disabled it. `gone`: it answered 410. `failing`: nothing succeeded for 3 days."
    )
    failures: int = Field(description="Attempts that failed since the last success.")
    failing_since: Time | None = Field(description="The first of them.")
    old_secret_until: Time | None = Field(description="Until then, callbacks are signed with the old secret too.")

    @classmethod
    def of(cls, view: EndpointView) -> Self:
        return cls.copy_from(view.row, tenant=view.tenant, **({"secret": view.secret} if view.secret else {}))


EndpointPage = PageShown[EndpointShown]


class EndpointMade(EndpointShown):
    """An endpoint with its new secret."""

    secret: str | None = Field(description="Signs its callbacks. Shown only now; a repeated answer has null.")
