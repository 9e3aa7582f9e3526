"""The living workers and the leader. Their rows hold leases, so a frozen process is replaced without any action."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from models.tables.base import Base


class StoreState(NamedTuple):
    """Whether a store worker can store videos."""

    problem: str | None  # why it can store no further video, and what to do; None: it can
    free_bytes: int | None  # None: unknown


NO_STORE = StoreState(None, None)
"""The state that a worker reports if it stores no videos."""


class Worker(Base):
    """A worker process and its last sign of life. The dispatcher sizes its queues by the threads of living workers."""

    __tablename__ = "worker"

    name: Mapped[str] = mapped_column(primary_key=True)
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text))
    threads: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    turns_failing_since: Mapped[datetime | None]  # since then, each turn of its dispatcher has failed
    turn_error: Mapped[str | None]  # the latest error of these turns
    store_problem: Mapped[str | None]  # why it cannot store further videos; null: it can, or that is not its work
    store_free_bytes: Mapped[int | None]  # free space for videos; null: unknown, or that is not its work


STORE_PROBLEM = """(SELECT coalesce(
            (SELECT min(store_problem) FROM worker),
            (SELECT 'videos wait, and no store worker is running: start one' FROM prediction
                WHERE state = 'completed' AND due_at < now() - interval '1 minute' LIMIT 1))
        WHERE NOT EXISTS (
            SELECT FROM worker
            WHERE 'store' = ANY(queues) AND store_problem IS NULL AND seen_at > now() - interval '15 seconds'))"""
"""SQL: why no store worker can store further videos; null if one can, or if none has reported a problem and no video
has waited for a minute. A dead worker's report counts until another one can store or its row is dropped, because its
death frees no space."""


class Leader(Base):
    """The one worker that dispatches. Two at once are safe, because admission locks the account's row."""

    __tablename__ = "leader"

    role: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    term: Mapped[int]  # grows by one with every change of holder
    lease_until: Mapped[datetime]
