"""How often a write came too late: one row per kind of write."""

from datetime import datetime

from sqlalchemy import func
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base


class StaleWrite(Base):
    """Counts the writes that changed nothing because the claim or the state had changed. The first creates the row."""

    __tablename__ = "stale_write"

    kind: Mapped[str] = mapped_column(primary_key=True)  # the step and the attempted write, such as `store.finish`
    count: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(server_default=func.now())
