"""One WaveSpeed account: its limits and its health. Its key is kept in the settings, never in a row."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import CheckConstraint, Double, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, new_id


class Account(Base):
    """The limits are copied here from the settings at start. Usage is never stored: `prediction` rows are counted."""

    __tablename__ = "account"
    __table_args__ = (
        CheckConstraint("slots > 0 AND submits_per_minute > 0 AND overcommit >= 0", name="limits"),
        CheckConstraint("max_spend_per_day >= 0", name="max_spend_per_day"),
        CheckConstraint("effective_slots > 0", name="effective_slots"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    slots: Mapped[int]  # renders that the provider runs at once
    submits_per_minute: Mapped[int]
    max_spend_per_day: Mapped[Decimal | None]  # dollars held and spent in a day of UTC; null: no cap
    overcommit: Mapped[int] = mapped_column(server_default=text("0"))  # renders queued at the provider beyond the slots
    effective_slots: Mapped[int | None]  # learned from a concurrency 429; null: as configured
    limited_at: Mapped[datetime | None]  # when the last concurrency 429 came
    back_offs: Mapped[int] = mapped_column(server_default=text("0"))  # refusals in a row; 0: healthy
    back_off_since: Mapped[datetime | None]  # when the first of the refusals in a row came
    back_off_until: Mapped[datetime | None]  # nothing is submitted before this time
    back_off_reason: Mapped[str | None]  # machine-readable code: rate, key, credit
    back_off_detail: Mapped[str | None]  # the provider's message
    check_failures: Mapped[int] = mapped_column(server_default=text("0"))  # failed checks in a row
    check_back_off_until: Mapped[datetime | None]  # no check is made before this time
    provider_failures: Mapped[int] = mapped_column(server_default=text("0"))  # requests in a row without usable answer
    provider_failing_since: Mapped[datetime | None]  # when the first of them failed
    provider_failed_at: Mapped[datetime | None]  # when the last of them failed
    provider_failure: Mapped[str | None]  # the provider's last answer, or the network error
    requests_owed: Mapped[int] = mapped_column(server_default=text("0"))  # requests made beyond those granted
    reconcile_claim: Mapped[int] = mapped_column(server_default=text("0"))  # fencing token of the reconciliation run
    reconcile_begun: Mapped[int] = mapped_column(server_default=text("0"))  # the claim of the run that has begun
    reconcile_until: Mapped[datetime | None]  # end of the run's lease
    swept_at: Mapped[datetime | None]  # when we last searched for unknown predictions
    list_lag_seconds: Mapped[float] = mapped_column(Double, server_default=text("0"))  # the largest list lag ever seen
    sweep_lag_seconds: Mapped[float] = mapped_column(Double, server_default=text("0"))  # how late a page showed an end
    sweep_lag_at: Mapped[datetime | None]  # when sweep_lag_seconds was measured
    own_share: Mapped[float] = mapped_column(Double, server_default=text("1"))  # share of a page's entries that is ours
    own_share_at: Mapped[datetime | None]  # when own_share was measured
    check_price: Mapped[float | None] = mapped_column(Double)  # seconds of delay that a recent request was worth
    check_budget: Mapped[float | None] = mapped_column(Double)  # requests of checks that it may make in a second
    check_requests: Mapped[int] = mapped_column(server_default=text("0"))  # requests of checks so far
    hook_secret: Mapped[bytes] = mapped_column(
        LargeBinary, server_default=text("(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))")
    )  # key that signs the tokens of webhooks: 244 random bits, never shown
    epoch: Mapped[int] = mapped_column(server_default=text("0"))  # claims of submissions; also kept outside Postgres
    epoch_at: Mapped[datetime | None]  # time of the last claim; anything that a restore lost came after it
    restore_epoch: Mapped[int] = mapped_column(server_default=text("0"))  # the highest RUSHES_RESTORE_EPOCH handled
    outputs_reached_at: Mapped[datetime | None]  # when the output host last delivered a file
    outputs_failed_at: Mapped[datetime | None]  # when the output host last made a download fail
    outputs_failing_since: Mapped[datetime | None]  # start of the output host's outage: one download at a time probes
    outputs_failure: Mapped[str | None]  # how the last probe failed
    outputs_probes: Mapped[int] = mapped_column(server_default=text("0"))  # failed probes in a row
    outputs_probe_at: Mapped[datetime | None]  # the next probe starts no earlier than this
    store_marker: Mapped[str | None]  # the text of the marker file in the folder for videos; null: none was used yet
    paused_at: Mapped[datetime | None]  # nothing is submitted from this time on
    paused_reason: Mapped[str | None]  # machine-readable code: restore, person
    paused_detail: Mapped[str | None]  # what the account waits for, or who paused it
    person_paused_at: Mapped[datetime | None]  # a person's pause that applies after the restore's: when it began
    person_paused_by: Mapped[str | None]
