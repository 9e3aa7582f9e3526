"""Files that callers give as inputs: their bytes, the jobs that use them, and where the provider has them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base


class Upload(Base):
    """A file, stored once per content. A job's input refers to it by its SHA-256."""

    __tablename__ = "upload"
    __table_args__ = (
        CheckConstraint("length(sha256) = 64 AND length(content) > 0", name="content"),
        Index("ix_upload_used", "used_at"),
    )

    sha256: Mapped[str] = mapped_column(primary_key=True)  # lower-case hex
    content_type: Mapped[str]
    content: Mapped[bytes]
    used_at: Mapped[datetime] = mapped_column(server_default=func.now())  # when a caller last sent or named it


class UploadOwner(Base):
    """A tenant that has sent the file, and so may use it."""

    __tablename__ = "upload_owner"

    sha256: Mapped[str] = mapped_column(ForeignKey("upload.sha256", ondelete="CASCADE"), primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenant.id"), primary_key=True)


class JobUpload(Base):
    """A job's parameter that is an upload. The foreign keys keep the upload for as long as the job needs it."""

    __tablename__ = "job_upload"
    __table_args__ = (Index("ix_job_upload_sha256", "sha256"),)

    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    parameter: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("upload.sha256"))


class SentUpload(Base):
    """Where the provider keeps an account's copy of an upload, which it does for seven days."""

    __tablename__ = "sent_upload"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("upload.sha256", ondelete="CASCADE"), primary_key=True)
    url: Mapped[str | None]  # null: never sent, or to be sent again
    sent_at: Mapped[datetime | None]
    busy_until: Mapped[datetime]  # lease of the step that sends it
