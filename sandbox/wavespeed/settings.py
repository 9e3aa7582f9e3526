"""The settings of one simulator: the account, its limits, the behaviour of renders, and the location of files."""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

Overflow = Literal["queue", "refuse"]

REFUNDABLE = ("failed", "moderation", "cancelled", "timeout", "deleted")
"""Endings that may be refunded. The provider promises it for failures and time-outs and does not mention others."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Limits of an account level: concurrent renders, and submissions per sliding minute."""

    slots: int
    submits_per_minute: int


TIERS = {
    "bronze": Tier(slots=2, submits_per_minute=2),
    "silver": Tier(slots=300, submits_per_minute=500),
    "gold": Tier(slots=3_000, submits_per_minute=3_000),
    "ultra": Tier(slots=10_000, submits_per_minute=5_000),
}
"""The provider's account levels of 2026, for videos."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """All settings of a simulator. Seconds are wall-clock seconds; money is in dollars."""

    api_keys: tuple[str, ...] = field(repr=False)
    tier: Tier = TIERS["silver"]
    overflow: Overflow = "queue"
    median_seconds: float = 100.0
    sigma: float = 0.5
    cap_seconds: float = 600.0
    speed: float = 1.0
    balance: Decimal = Decimal(100_000)
    no_credit_status: int = 402
    refund_delay: float = 0.0
    refunded: frozenset[str] = frozenset(REFUNDABLE) - {"deleted"}
    retention_seconds: float = 7 * 86_400.0
    sync_seconds: float = 90.0
    webhook_secret: str | None = field(default=None, repr=False)
    webhook_retries: int = 3
    webhook_backoff: float = 1.0
    webhook_timeout: float = 10.0
    seed: int = 1
    show_prompts: bool = False
    journal: Path | None = None
    faults: dict[str, Any] = field(default_factory=dict)
