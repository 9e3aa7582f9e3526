"""Where a tenant wants to be called, and how the receiver has answered lately."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, new_id, one_of


class DisabledReason(StrEnum):
    """Why an endpoint gets no callbacks."""

    PERSON = "person"
    GONE = "gone"  # its receiver answered 410
    FAILING = "failing"  # no delivery succeeded for three days


class Endpoint(Base):
    """While it is disabled, no deliveries are created for it, and none are sent."""

    __tablename__ = "endpoint"
    __table_args__ = (
        one_of("disabled_reason", DisabledReason),
        CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled"),
        CheckConstraint("deleted_at IS NULL OR disabled_at IS NOT NULL", name="deleted"),
        CheckConstraint("(old_secret IS NULL) = (old_secret_until IS NULL)", name="old_secret"),
        CheckConstraint("(failures > 0) = (failing_since IS NOT NULL)", name="failures"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenant.id"), index=True)
    url: Mapped[str]  # its path and query may be secret
    kinds: Mapped[list[str]]  # of events; `*` at the end stands for any ending
    secret: Mapped[str]  # readable, because it signs
    old_secret: Mapped[str | None]  # signs too, until then
    old_secret_until: Mapped[datetime | None]
    after: Mapped[int]  # the last event that is not its business
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]
    deleted_at: Mapped[datetime | None]  # nobody sees it any more; pruning removes its deliveries, then its row
    failures: Mapped[int] = mapped_column(server_default=text("0"))  # in a row
    failing_since: Mapped[datetime | None]  # the first of them
    held_until: Mapped[datetime | None]  # nothing is sent before
    suspect_until: Mapped[datetime | None]  # until then it shares threads with others that fail; null: not tried yet
