"""One line of history, appended in the same transaction as the change that it describes."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Identity, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base


class Event(Base):
    """Kinds are `noun.past_participle` (docs/glossary.md). No foreign keys: history outlives the rows it describes."""

    __tablename__ = "event"
    __table_args__ = (
        Index("ix_event_job", "job_id", "id"),
        Index("ix_event_batch", "batch_id", "id", postgresql_where=text("batch_id IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    kind: Mapped[str]
    job_id: Mapped[UUID | None]
    prediction_id: Mapped[UUID | None]
    account_id: Mapped[UUID | None]
    batch_id: Mapped[UUID | None]  # set if the event is about a batch as a whole
    detail: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
