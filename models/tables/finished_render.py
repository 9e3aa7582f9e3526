"""How long renders took. Render times are learned from these rows, which can be rebuilt from predictions."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Double, Index
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base


class FinishedRender(Base):
    """One completed render. Only the newest of each kind are kept. No foreign key: it may outlive its prediction."""

    __tablename__ = "finished_render"
    __table_args__ = (
        CheckConstraint("low_seconds >= 0 AND high_seconds >= low_seconds", name="interval"),
        Index("ix_finished_render_kind", "video_model", "output_seconds", "ended_at"),
        Index("ix_finished_render_ended_at", "ended_at"),
    )

    prediction_id: Mapped[UUID] = mapped_column(primary_key=True)
    video_model: Mapped[str]
    output_seconds: Mapped[int]
    ended_at: Mapped[datetime]  # when it was found finished
    low_seconds: Mapped[float] = mapped_column(Double)  # the greatest age at which it was certainly still running
    high_seconds: Mapped[float] = mapped_column(Double)  # its age when it was found finished
