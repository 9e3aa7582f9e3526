"""How often somebody came too late: one row per kind of write."""

from datetime import datetime

from sqlalchemy import func
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base


class StaleWrite(Base):
    """Writes that moved nothing since claim or state had changed; a row is written only where that happens."""

    __tablename__ = "stale_write"

    kind: Mapped[str] = mapped_column(primary_key=True)  # the step and what it wanted, as `store.finish`
    count: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(server_default=func.now())
