"""The result of one of the doctor's checks."""

from dataclasses import asdict, dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """The name of a check, its finding, and the advice."""

    name: str
    status: Status
    message: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the check as data for JSON."""
        return asdict(self)
