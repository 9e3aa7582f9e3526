"""The result of one of the doctor's checks."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """The name of a check, its finding, and the advice."""

    name: str
    status: Status
    message: str
    advice: str = ""
