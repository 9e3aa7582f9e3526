"""The totals of predictions that have ended, by account, day and video model."""

from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy import ForeignKey, text
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
    spent: Mapped[Decimal] = mapped_column(server_default=text("0"))  # dollars, as in the account's summary
    refunded: Mapped[Decimal] = mapped_column(server_default=text("0"))
    duplicate: Mapped[Decimal] = mapped_column(server_default=text("0"))  # part of `spent`, for duplicate purchases
    duplicates: Mapped[int] = mapped_column(server_default=text("0"))
