"""A stored output file with its checksum."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, new_id, one_of


class ArtifactKind(StrEnum):
    """The kind of a stored file."""

    VIDEO = "video"  # the provider's file, byte for byte
    POSTER = "poster"  # the video's first frame as JPEG
    UNVERIFIED = "unverified"  # bytes that arrived for an output but failed the probe

    @property
    def file_name(self) -> str:
        """Its name in a message."""
        return "unverified file" if self is ArtifactKind.UNVERIFIED else self.value


class Artifact(Base):
    """The row is written after the file has become visible. A video and its poster are written in the transaction that
    ends the job, an unverified file with the failed attempt that fetched it.

    A file that is removed on purpose is first marked (`removed_at`), then removed, and then loses its `url`. The row
    stays as long as its job.
    """

    __tablename__ = "artifact"
    __table_args__ = (
        one_of("kind", ArtifactKind),
        CheckConstraint("bytes > 0 AND length(sha256) = 64", name="content"),
        CheckConstraint("url IS NOT NULL OR removed_at IS NOT NULL", name="url"),
        UniqueConstraint("prediction_id", "kind"),
        Index("ix_artifact_job_id", "job_id"),
        Index("ix_artifact_unverified", "sha256", postgresql_where=text("kind = 'unverified'")),
        Index("ix_artifact_stored", "created_at", postgresql_where=text("removed_at IS NULL AND kind <> 'unverified'")),
        Index("ix_artifact_marked", "id", postgresql_where=text("removed_at IS NOT NULL AND url IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"))
    prediction_id: Mapped[UUID] = mapped_column(ForeignKey("prediction.id"))
    kind: Mapped[str]
    url: Mapped[str | None]  # null: the file has been removed on purpose
    bytes: Mapped[int]
    sha256: Mapped[str]  # lower-case hex
    container: Mapped[str | None]
    seconds: Mapped[Decimal | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    has_audio: Mapped[bool | None]
    content_type: Mapped[str | None]  # unverified file: the content type that the output host sent
    source: Mapped[str | None]  # unverified file: the address it came from, without its query
    message: Mapped[str | None]  # unverified file: why the probe rejects it
    suspect: Mapped[str | None]  # unverified file: file, document or cut, see `rushes.artifacts.errors.Suspect`
    repeated_at: Mapped[datetime | None]  # unverified file: when the same bytes last arrived again
    is_duplicate: Mapped[bool] = mapped_column(
        server_default=text("false")
    )  # belongs to a duplicate purchase, and the job has not succeeded with it
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    removed_at: Mapped[datetime | None]  # since when the file counts as removed on purpose

    @property
    def file_name(self) -> str | None:
        """The last part of its URL: a name that is unique among the files of a batch. None once it is removed."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name if self.url else None
