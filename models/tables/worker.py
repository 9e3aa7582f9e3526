"""The living workers and the leader. Their rows hold leases, so a frozen process is replaced without any action."""

from datetime import datetime

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from models.tables.base import Base


class Worker(Base):
    """A worker process and its last sign of life. The dispatcher sizes its queues by the threads of living workers."""

    __tablename__ = "worker"

    name: Mapped[str] = mapped_column(primary_key=True)
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text))
    threads: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    turns_failing_since: Mapped[datetime | None]  # since then, each turn of its dispatcher has failed
    turn_error: Mapped[str | None]  # how the first of them failed


class Leader(Base):
    """The one worker that dispatches. Two at once are safe, because admission locks the account's row."""

    __tablename__ = "leader"

    role: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    term: Mapped[int]  # grows by one with every change of holder
    lease_until: Mapped[datetime]
