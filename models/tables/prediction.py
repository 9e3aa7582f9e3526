"""One submission of a job to WaveSpeed, i.e. one purchase. The row is written before the POST."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Double, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.lifecycle import LIVE, PredictionState
from models.tables.base import Base, new_id, one_of

_LIVE = "state IN ({})".format(", ".join(f"'{state.value}'" for state in sorted(LIVE)))
_RENDERING = "state = 'rendering'"

UNCOUNTED = "NOT counted AND (provider_id IS NOT NULL OR ended_at IS NULL)"
"""The prediction may have a cost that the daily totals do not contain: it has an outcome, or is LIVE."""

_TO_STORE = "state = 'completed' AND due_at IS NOT NULL"
_HOOK_COMPARED = "hook_outcome IS NOT NULL AND ended_at IS NOT NULL AND NOT ended_by_hook"


class Prediction(Base):
    """`due_at` depends on the state. While submitting, it is the lease and the retry timer. While rendering, it is the
    end of the watch window.

    An unconfirmed submission without `due_at` is no longer searched for: it is as old as the provider's retention, and
    a person decides.

    Once completed, `due_at` is the lease and the retry timer of the store step, and null when its output is stored or
    given up.

    A duplicate purchase is watched, stored and priced like any other, but its job does not wait for it.
    """

    __tablename__ = "prediction"
    __table_args__ = (
        one_of("state", PredictionState),
        CheckConstraint(f"({_LIVE}) = (ended_at IS NULL)", name="ended_at"),
        CheckConstraint("state <> 'unconfirmed' OR posted_at IS NOT NULL", name="posted_at"),
        CheckConstraint(
            "state NOT IN ('rendering', 'completed', 'failed', 'timeout', 'deleted', 'lost')"
            " OR provider_id IS NOT NULL",
            name="provider_id",
        ),
        CheckConstraint("NOT is_duplicate OR provider_id IS NOT NULL", name="is_duplicate"),
        UniqueConstraint("job_id", "attempt"),
        UniqueConstraint("account_id", "provider_id"),
        # The database itself refuses a second purchase while one may be live.
        Index("uq_prediction_live", "job_id", unique=True, postgresql_where=text(f"{_LIVE} AND NOT is_duplicate")),
        Index("ix_prediction_slots", "account_id", "state", postgresql_where=text(_LIVE)),
        Index("ix_prediction_due", "state", "due_at", postgresql_where=text(_LIVE)),
        Index("ix_prediction_accepted", "accepted_at", postgresql_where=text(_RENDERING)),
        Index("ix_prediction_created", "account_id", "provider_created_at", postgresql_where=text(_RENDERING)),
        Index("ix_prediction_ended", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
        Index("ix_prediction_early_check", "early_check_at", postgresql_where=text(_RENDERING)),
        Index("ix_prediction_rate_slot", "account_id", "not_before"),
        Index(
            "ix_prediction_hook_compared",
            "account_id",
            text("ended_at DESC NULLS LAST"),  # an order that no other index has: the query gets it only from here
            postgresql_where=text(_HOOK_COMPARED),
        ),
        Index("ix_prediction_duplicate", "accepted_at", postgresql_where=text("is_duplicate")),
        Index("ix_prediction_uncounted", "account_id", "ended_at", postgresql_where=text(UNCOUNTED)),
        Index("ix_prediction_to_store", "due_at", postgresql_where=text(_TO_STORE)),
        Index(
            "ix_prediction_output_failed",
            "output_failed_at",
            postgresql_where=text(f"{_TO_STORE} AND output_failed_at IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("job.id"))
    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id"))
    attempt: Mapped[int]  # 1 for the first purchase of the job
    state: Mapped[str] = mapped_column(server_default=text("'submitting'"))
    claim: Mapped[int] = mapped_column(
        server_default=text("0")
    )  # fencing token: a process that acts under an older claim changes nothing
    due_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]  # time of its rate slot; null: none taken
    posted_at: Mapped[datetime | None]  # committed before the POST: from this commit on it may have been bought
    sent_input: Mapped[dict[str, Any] | None]  # the input as sent; null: the job's
    is_outdated: Mapped[bool] = mapped_column(server_default=text("false"))  # its job's input was replaced since
    provider_id: Mapped[str | None]  # WaveSpeed's prediction id; written once
    provider_created_at: Mapped[datetime | None]  # by the provider's clock
    accepted_at: Mapped[datetime | None]  # when we learned its provider_id
    adopted_at: Mapped[datetime | None]  # when its provider_id was taken from the list, not from the answer to the POST
    watch_windows: Mapped[int] = mapped_column(server_default=text("0"))  # watch windows that ended without an outcome
    early_check_at: Mapped[datetime | None]  # when a page or a webhook last suggested that it ended, or a check failed
    inconsistent_since: Mapped[datetime | None]  # since when the provider's answers make no sense
    seen_running_at: Mapped[datetime | None]  # when a check last saw it running before its completion, if known
    execution_seconds: Mapped[float | None] = mapped_column(Double)  # as the provider reports it with the completion
    submit_crashed: Mapped[bool] = mapped_column(
        server_default=text("false")
    )  # its worker crashed between `posted_at` and the answer; reset when a person retries the job
    retention_warned_at: Mapped[datetime | None]  # when an event warned that the provider keeps it for a day only
    price: Mapped[Decimal]  # dollars; held from the row's creation on, settled by the outcome
    hook_asked: Mapped[bool] = mapped_column(server_default=text("false"))  # posted with an address for a webhook
    hooked_at: Mapped[datetime | None]  # when the first verified webhook reported its end, before or after we knew
    hook_outcome: Mapped[str | None]  # the state that this webhook reported
    ended_by_hook: Mapped[bool] = mapped_column(server_default=text("false"))  # ended by the webhook, not by a check
    is_duplicate: Mapped[bool] = mapped_column(
        server_default=text("false")
    )  # turned up after `not_found` or `refused`, or on top of another purchase of its job
    outputs: Mapped[list[str] | None]
    begun_at: Mapped[datetime | None]  # when the store step of this claim began; null: it has not
    store_attempts: Mapped[int] = mapped_column(server_default=text("0"))  # store steps begun since the last retry
    store_crashes: Mapped[int] = mapped_column(server_default=text("0"))  # store steps that crashed in a row
    output_failed_at: Mapped[datetime | None]  # when the output host last failed to deliver its file; null: it has not
    output_releases: Mapped[int] = mapped_column(server_default=text("0"))  # outages whose end released its download
    output_warned_at: Mapped[datetime | None]  # when an event warned that its downloads will soon be given up
    rechecks: Mapped[bool] = mapped_column(
        server_default=text("false")
    )  # its store step only probes the unverified file
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    counted: Mapped[bool] = mapped_column(server_default=text("false"))  # the daily totals contain it
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class UnknownPrediction(Base):
    """A prediction at the provider that no row of ours asked for: made on its website, or lost from our rows.

    Reported once. Deleted if a row turns out to have asked for it; that row may become a duplicate purchase.
    """

    __tablename__ = "unknown_prediction"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id"), primary_key=True)
    provider_id: Mapped[str] = mapped_column(primary_key=True)
    video_model: Mapped[str]
    input: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    provider_created_at: Mapped[datetime | None]
    found_at: Mapped[datetime] = mapped_column(server_default=func.now())
