"""A stored output file with its checksum."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, new_id, one_of


class ArtifactKind(StrEnum):
    """What the file is."""

    VIDEO = "video"  # the provider's file, byte for byte
    POSTER = "poster"  # its first frame as JPEG


class Artifact(Base):
    """Written in the transaction that ends the job, or the story of a surplus, after the file became visible."""

    __tablename__ = "artifact"
    __table_args__ = (
        one_of("kind", ArtifactKind),
        CheckConstraint("bytes > 0 AND length(sha256) = 64", name="content"),
        UniqueConstraint("prediction_id", "kind"),
        Index("ix_artifact_job_id", "job_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"))
    prediction_id: Mapped[UUID] = mapped_column(ForeignKey("prediction.id"))
    kind: Mapped[str]
    url: Mapped[str]
    bytes: Mapped[int]
    sha256: Mapped[str]  # lower-case hex
    container: Mapped[str | None]
    seconds: Mapped[Decimal | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    has_audio: Mapped[bool | None]
    is_surplus: Mapped[bool] = mapped_column(server_default=text("false"))  # of a surplus: not the job's own file
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
