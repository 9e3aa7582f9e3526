"""The settings of one simulator: the account, its limits, the behaviour of renders, and the location of files."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sandbox.wavespeed.state.faults import read_rule


class SimulatorSettings(BaseModel):
    """All settings of a simulator. Seconds are wall-clock seconds; money is in dollars.

    Each field is an option of the command, under its alias if it has one; the description is the option's help.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(0, description="0 takes a free one")
    log_level: Literal["debug", "info", "warning", "error"] = Field("warning", description="of the log on stderr")

    api_key: str = Field(min_length=1, repr=False, description="the account's key")
    slots: int = Field(300, ge=0, description="renders at the same time")
    submits_per_minute: int = Field(500, ge=0, description="submissions in any 60 seconds")
    overflow: Literal["queue", "refuse"] = Field(
        "queue", description="a task beyond the slots waits as `created` (queue) or is answered 429 (refuse)"
    )
    balance: Decimal = Field(Decimal(100_000), allow_inf_nan=False, description="dollars")

    median_seconds: float = Field(100.0, alias="median", gt=0, description="of render times")
    sigma: float = Field(0.5, description="of the logarithm of render times")
    cap_seconds: float = Field(600.0, alias="cap", description="longest render time")
    speed: float = Field(1.0, gt=0, description="divides render times, nothing else")
    retention_seconds: float = Field(7 * 86_400.0, alias="retention", description="tasks are kept this long")
    show_prompts: bool = Field(False, description="videos show their prompts, for 0.1 s of processor time each")
    video_bytes: int = Field(0, ge=0, description="size of every video, with a detailed picture; 0: as small as it is")
    download_rate: int = Field(0, ge=0, description="bytes per second of one download; 0: as fast as possible")

    webhook_retries: int = Field(3, description="after the first attempt")
    webhook_backoff: float = Field(1.0, description="seconds of the first pause, doubled each time")
    webhook_timeout: float = Field(10.0, description="seconds")

    faults: dict[str, Any] = Field({}, alias="fault", description="NAME=VALUE, see below; may be repeated")
    seed: int = Field(1, description="of all random choices: times and faults")
    journal: Path | None = Field(None, description="file that keeps tasks and money across restarts")

    @field_validator("faults", mode="before")
    @classmethod
    def _read_faults(cls, given: dict[str, Any] | list[str]) -> dict[str, Any]:
        """Rules by the name of their fault, or the command's list of NAME, NAME=PROBABILITY or NAME=JSON."""
        if isinstance(given, list):
            given = {name: json.loads(value or "1") for name, _, value in (text.partition("=") for text in given)}
        for name, rule in given.items():
            read_rule(name, rule)
        return given
