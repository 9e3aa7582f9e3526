"""A prediction at the provider that no row of ours asked for: made on its website, or bought and lost from our rows."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base


class UnknownPrediction(Base):
    """Reported once. Deleted if a row turns out to have asked for it; that row may become a duplicate purchase."""

    __tablename__ = "unknown_prediction"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id"), primary_key=True)
    provider_id: Mapped[str] = mapped_column(primary_key=True)
    video_model: Mapped[str]
    input: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    provider_created_at: Mapped[datetime | None]
    found_at: Mapped[datetime] = mapped_column(server_default=func.now())
