"""One video that somebody asked for."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.lifecycle import JobState
from models.tables.base import Base, new_id, one_of, owned

_ADMISSIBLE = "state = 'queued' AND paused_at IS NULL"


class Job(Base):
    """`due_at` is the end of a back-off while queued. In every other state, a prediction says what is due."""

    __tablename__ = "job"
    __table_args__ = (
        one_of("state", JobState),
        CheckConstraint("(ended_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))", name="ended_at"),
        CheckConstraint("(batch_id IS NULL) = (number IS NULL)", name="number"),
        CheckConstraint("max_attempts BETWEEN 1 AND 20", name="max_attempts"),
        CheckConstraint("state <> 'failed' OR error_code IS NOT NULL", name="error"),
        UniqueConstraint("batch_id", "number"),
        Index(
            "ix_job_file_stem",
            "batch_id",
            text("lower(file_stem)"),
            unique=True,
            postgresql_where=text("batch_id IS NOT NULL AND file_stem IS NOT NULL"),
        ),
        Index("ix_job_admission", text("priority DESC"), "id", postgresql_where=text(_ADMISSIBLE)),
        Index("ix_job_due", "due_at", postgresql_where=text(_ADMISSIBLE)),
        Index("ix_job_ended", "batch_id", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
        # One index for each filter that `list_jobs` pages by, and for the order of endings.
        Index("ix_job_state", "state", "id"),
        Index("ix_job_tenant", "tenant_id", "id"),
        Index("ix_job_tenant_state", "tenant_id", "state", "id"),
        Index("ix_job_client_ref", "client_ref", "tenant_id", "id", postgresql_where=text("client_ref IS NOT NULL")),
        Index("ix_job_batch", "batch_id", "id"),
        Index("ix_job_batch_state", "batch_id", "state", "id"),
        Index("ix_job_video_model", "video_model", "id"),
        Index("ix_job_error_code", "error_code", "id", postgresql_where=text("error_code IS NOT NULL")),
        Index("ix_job_state_ended", "state", "ended_at", "id", postgresql_where=text("ended_at IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[UUID] = owned()
    batch_id: Mapped[UUID | None] = mapped_column(ForeignKey("batch.id"))
    number: Mapped[int | None]  # position in the batch, from 1
    video_model: Mapped[str]  # the provider's model id
    input: Mapped[dict[str, Any]]  # every parameter, as sent to the provider
    client_ref: Mapped[str | None]  # the caller's own id for it
    client_metadata: Mapped[dict[str, Any] | None]  # the caller's own values, returned as they came
    file_stem: Mapped[str | None]  # name of its files without suffix, from client_ref; null: from number and prompt
    price: Mapped[Decimal]  # dollars for one render, from the catalogue
    priority: Mapped[int] = mapped_column(server_default=text("0"))  # higher goes first
    paused_at: Mapped[datetime | None]  # since when a person keeps it from being submitted; null: nobody does
    max_attempts: Mapped[int] = mapped_column(server_default=text("3"))  # limit of purchases
    state: Mapped[str] = mapped_column(server_default=text("'queued'"))
    due_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    cancel_requested_at: Mapped[datetime | None]
    error_code: Mapped[str | None]  # machine-readable code
    error_message: Mapped[str | None]  # message for people
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
