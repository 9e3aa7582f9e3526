"""Jobs that were pushed together, with one name and one progress bar."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, new_id, owned


class Batch(Base):
    """Counts and spend are not stored here; they are summed over the batch's jobs."""

    __tablename__ = "batch"
    __table_args__ = (
        CheckConstraint("job_count >= 0", name="job_count"),
        CheckConstraint("sealed_at IS NOT NULL OR cancelled_at IS NULL", name="cancelled_at"),
        CheckConstraint("sealed_at IS NOT NULL OR ended_at IS NULL", name="ended_at"),
        CheckConstraint("sealed_at IS NOT NULL OR deleted_at IS NULL", name="deleted_at"),
        CheckConstraint("at_risk_at IS NULL OR finish_by IS NOT NULL", name="at_risk_at"),
        CheckConstraint("files_removed_at IS NULL OR deleted_at IS NOT NULL", name="files_removed_at"),
        Index("ix_batch_name", "tenant_id", text("lower(name)"), unique=True),  # some file systems ignore case
        Index("ix_batch_tenant", "tenant_id", "id"),
        Index("ix_batch_digest", "digest"),
        Index("ix_batch_finish_by", "finish_by", postgresql_where=text("finish_by IS NOT NULL")),
        Index("ix_batch_to_end", "id", postgresql_where=text("sealed_at IS NOT NULL AND ended_at IS NULL")),
        Index("ix_batch_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[UUID] = owned()
    name: Mapped[str]  # also the name of its folder of videos, unique in its tenant
    job_count: Mapped[int]
    digest: Mapped[str | None]  # SHA-256 of its jobs, by which the same push is recognised; null: not known
    defaults: Mapped[dict[str, Any] | None]  # what jobs that are added take if they do not set it themselves
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    sealed_at: Mapped[datetime | None] = mapped_column(server_default=func.now())  # null: it is open for more jobs
    cancelled_at: Mapped[datetime | None]  # it was cancelled while open, or all of its jobs were
    ended_at: Mapped[datetime | None]  # when the last job of a sealed batch ended; a retry makes it null again
    finish_by: Mapped[datetime | None]  # deadline for its last job; null: none
    at_risk_at: Mapped[datetime | None]  # since when it is likely to miss finish_by; null: it is not
    deleted_at: Mapped[datetime | None]  # its jobs stay ended; their files are removed, then their rows, then this one
    files_removed_at: Mapped[datetime | None]  # when its jobs were last searched for files to remove
