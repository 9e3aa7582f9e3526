"""Changes that a person makes to many jobs at once."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, new_id, one_of


class ActionKind(StrEnum):
    """What is done to each job."""

    RETRY = "retry"
    CANCEL = "cancel"
    PRIORITY = "priority"
    PAUSE = "pause"
    RESUME = "resume"
    RECHECK = "recheck"  # probe its unverified file again
    DELETE = "delete"  # of whole batches only


class ActionState(StrEnum):
    """How far an action has come."""

    RUNNING = "running"
    DONE = "done"
    ABORTED = "aborted"  # by a person, or because it failed; the jobs that it has reached stay changed


class Action(Base):
    """The leader makes the change job by job, in the order of their ids. `last_id` is how far it has come."""

    __tablename__ = "action"
    __table_args__ = (
        one_of("kind", ActionKind),
        one_of("state", ActionState),
        CheckConstraint("(ended_at IS NOT NULL) = (state <> 'running')", name="ended_at"),
        Index("ix_action_running", "id", postgresql_where=text("state = 'running'")),
        Index("ix_action_tenant", "tenant_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("tenant.id")
    )  # whose jobs it reaches; null: every tenant's
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'running'"))
    chosen: Mapped[dict[str, Any]]  # the filter, with times instead of ages and ids instead of names
    arguments: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # a priority, or values of the input
    requested_by: Mapped[str]
    matched: Mapped[int]  # jobs that met the filter when it was requested
    cost: Mapped[Decimal]  # dollars: the price of one render of each of them
    changed: Mapped[int] = mapped_column(server_default=text("0"))  # jobs that were changed
    refused: Mapped[int] = mapped_column(server_default=text("0"))  # jobs that could not be
    problem: Mapped[str | None]  # why it was aborted
    last_id: Mapped[UUID | None]  # the last job that was reached; null: none yet
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class ActionItem(Base):
    """What an action did to one job."""

    __tablename__ = "action_item"

    action_id: Mapped[UUID] = mapped_column(ForeignKey("action.id", ondelete="CASCADE"), primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True, index=True)
    outcome: Mapped[str]  # the job's new state, or `refused`
    message: Mapped[str | None]  # why it was refused
