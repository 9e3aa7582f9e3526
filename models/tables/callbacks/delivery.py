"""Callbacks: one event for one endpoint each, and how far the history was searched for them."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, one_of


class DeliveryState(StrEnum):
    """How far a delivery has come."""

    PENDING = "pending"
    DELIVERED = "delivered"  # the receiver answered 2xx
    FAILED = "failed"  # given up after three days


_PENDING = text("state = 'pending'")


class Delivery(Base):
    """`due_at` says when to send it next; while a step has it (`claimed_at`), it is the end of the step's lease."""

    __tablename__ = "delivery"
    __table_args__ = (
        one_of("state", DeliveryState),
        CheckConstraint("(state = 'pending') = (due_at IS NOT NULL)", name="due_at"),
        CheckConstraint("(state = 'pending') = (ended_at IS NULL)", name="ended_at"),
        CheckConstraint("claimed_at IS NULL OR state = 'pending'", name="claimed_at"),
        Index("ix_delivery_endpoint", "endpoint_id", "id"),
        Index("ix_delivery_due", "endpoint_id", "due_at", "id", postgresql_where=_PENDING),
        Index("ix_delivery_order", "endpoint_id", "job_id", "event_id", postgresql_where=_PENDING),
        Index("ix_delivery_claimed", "endpoint_id", postgresql_where=text("claimed_at IS NOT NULL")),
        Index("ix_delivery_give_up", "give_up_at", postgresql_where=_PENDING),
        Index("ix_delivery_ended", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(unique=True)  # the same in every attempt: receivers know repetitions by it
    endpoint_id: Mapped[UUID] = mapped_column(ForeignKey("endpoint.id"))
    event_id: Mapped[int | None]  # null: a test
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'pending'"))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))  # since it was created or last resent
    due_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    give_up_at: Mapped[datetime]  # an attempt that fails after this is the last one
    claim: Mapped[int] = mapped_column(server_default=text("0"))
    claimed_at: Mapped[datetime | None]
    attempted_at: Mapped[datetime | None]  # the last attempt, and how it ended
    status: Mapped[int | None]  # HTTP; null: no whole answer
    milliseconds: Mapped[int | None]
    answer: Mapped[str | None]  # its first kilobyte
    error: Mapped[str | None]  # why there was no answer
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class FeedPosition(Base):
    """How far a reader of ours has come in the event feed."""

    __tablename__ = "feed_position"

    reader: Mapped[str] = mapped_column(primary_key=True)
    last_id: Mapped[int]
