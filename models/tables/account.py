"""One WaveSpeed account: its limits and its health. The key itself lives in the settings, never in a row."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Double, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, new_id


class Account(Base):
    """Limits are settings written here at start; what is in use is always counted from `prediction`, never kept."""

    __tablename__ = "account"
    __table_args__ = (
        CheckConstraint("slots > 0 AND submits_per_minute > 0 AND overcommit >= 0", name="limits"),
        CheckConstraint("effective_slots > 0", name="effective_slots"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    slots: Mapped[int]  # renders that the provider runs at once
    submits_per_minute: Mapped[int]
    overcommit: Mapped[int] = mapped_column(server_default=text("0"))  # submitted beyond the slots, where it queues
    effective_slots: Mapped[int | None]  # learned from a 429 by concurrency; null: as configured
    limited_at: Mapped[datetime | None]  # the last 429 by concurrency
    back_offs: Mapped[int] = mapped_column(server_default=text("0"))  # refusals in a row; 0: healthy
    back_off_since: Mapped[datetime | None]  # the first of the refusals in a row
    back_off_until: Mapped[datetime | None]  # nothing is submitted before
    back_off_reason: Mapped[str | None]  # a word for programs: rate, key, credit
    back_off_detail: Mapped[str | None]  # the provider's words
    check_failures: Mapped[int] = mapped_column(server_default=text("0"))  # failed checks in a row
    check_back_off_until: Mapped[datetime | None]  # nothing is checked before
    requests_owed: Mapped[int] = mapped_column(server_default=text("0"))  # requests made beyond those that were granted
    reconcile_claim: Mapped[int] = mapped_column(server_default=text("0"))  # fencing token of the reconciliation run
    reconcile_begun: Mapped[int] = mapped_column(server_default=text("0"))  # the claim whose run has begun
    reconcile_until: Mapped[datetime | None]  # the run's lease
    swept_at: Mapped[datetime | None]  # the last search for predictions that no row knows
    list_lag_seconds: Mapped[float] = mapped_column(Double, server_default=text("0"))  # the largest ever seen
    sweep_lag_seconds: Mapped[float] = mapped_column(Double, server_default=text("0"))  # how late pages showed an end
    sweep_lag_at: Mapped[datetime | None]  # when that was seen
    own_share: Mapped[float] = mapped_column(Double, server_default=text("1"))  # of what pages show, this is ours
    own_share_at: Mapped[datetime | None]  # when that was measured
    check_price: Mapped[float | None] = mapped_column(Double)  # seconds of delay that the last requests ended, each
    hook_secret: Mapped[bytes] = mapped_column(
        LargeBinary, server_default=text("(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))")
    )  # what the tokens of webhooks are signed with: 244 random bits, never shown
    epoch: Mapped[int] = mapped_column(server_default=text("0"))  # claims of submissions so far; also kept outside
    epoch_at: Mapped[datetime | None]  # the last one: what a restore has forgotten came after it
    restore_epoch: Mapped[int] = mapped_column(server_default=text("0"))  # the highest RUSHES_RESTORE_EPOCH dealt with
    outputs_reached_at: Mapped[datetime | None]  # when the output host last gave a file
    outputs_failed_at: Mapped[datetime | None]  # when a download last failed by the fault of the output host
    outputs_failing_since: Mapped[datetime | None]  # an outage of the output host: one download at a time probes
    outputs_failure: Mapped[str | None]  # how the last probe failed
    outputs_probes: Mapped[int] = mapped_column(server_default=text("0"))  # failed probes in a row
    outputs_probe_at: Mapped[datetime | None]  # no probe before
    paused_at: Mapped[datetime | None]  # since then nothing is submitted
    paused_reason: Mapped[str | None]  # a word for programs: restore, person
    paused_detail: Mapped[str | None]  # what it waits for, or who paused it
    person_paused_at: Mapped[datetime | None]  # a person's pause that a restore's lies over; it stands after that
    person_paused_by: Mapped[str | None]
