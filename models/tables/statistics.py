"""Statistics that outlive the rows they were taken from: daily totals, latencies, render times, and stale writes."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, Double, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base


class DailyTotal(Base):
    """The sums over predictions that are `counted`, or whose rows are gone. The totals of an account are these and the
    sums over its other predictions.

    Written by the transaction that marks or removes the rows, so that each prediction is counted once.
    """

    __tablename__ = "daily_total"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)  # on which the predictions ended, in UTC
    video_model: Mapped[str] = mapped_column(primary_key=True)
    renders: Mapped[int] = mapped_column(server_default=text("0"))  # completed predictions
    seconds: Mapped[Decimal] = mapped_column(server_default=text("0"))  # of stored video
    files: Mapped[int] = mapped_column(server_default=text("0"))  # stored videos and posters
    bytes: Mapped[int] = mapped_column(server_default=text("0"))  # of these files
    spent: Mapped[Decimal] = mapped_column(server_default=text("0"))  # dollars, as in the account's summary
    refunded: Mapped[Decimal] = mapped_column(server_default=text("0"))
    duplicate: Mapped[Decimal] = mapped_column(server_default=text("0"))  # part of `spent`, for duplicate purchases
    duplicates: Mapped[int] = mapped_column(server_default=text("0"))


LATENCY_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, float("inf"))
"""The upper bounds of the buckets of every latency, in seconds."""


class Latency(StrEnum):
    """What is measured of a prediction. Adopted predictions and duplicate purchases have no time of acceptance."""

    SUBMIT = "submit"  # from its POST to its acceptance; not if it was adopted or is a duplicate purchase
    STORE = "store"  # from its known completion to its stored video
    DETECTION = "detection"  # from when it last certainly ran to its known completion: an upper bound of the delay


class LatencyBucket(Base):
    """How many predictions took at most `at_most` seconds, and more than the next lower bound. It only grows.

    Written with the daily totals, so that each prediction is measured once.
    """

    __tablename__ = "latency_bucket"

    kind: Mapped[str] = mapped_column(primary_key=True)
    at_most: Mapped[float] = mapped_column(Double, primary_key=True)
    predictions: Mapped[int]
    seconds: Mapped[float] = mapped_column(Double)  # of all of them


class FinishedRender(Base):
    """One completed render. Render times are learned from these rows, which can be rebuilt from predictions.

    Only the newest of each kind are kept. No foreign key: a row may outlive its prediction.
    """

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


class StaleWrite(Base):
    """Counts the writes that changed nothing because the claim or the state had changed. The first creates the row."""

    __tablename__ = "stale_write"

    kind: Mapped[str] = mapped_column(primary_key=True)  # the step and the attempted write, such as `store.finish`
    count: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(server_default=func.now())
