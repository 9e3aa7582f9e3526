"""What the doctor has found out: the answer to one of its questions."""

from dataclasses import asdict, dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was asked, what was found, and what to do about it."""

    name: str
    status: Status
    message: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)
