"""The environment of every contestant, and the interface it must offer."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.loads import Load
from sandbox.wavespeed.handle import Simulator


@dataclass(frozen=True, slots=True)
class Arena:
    """The load, the provider, an empty folder and the prompts for a contestant."""

    load: Load
    simulator: Simulator
    folder: Path
    prompts: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of Rushes that the user asked for."""


class Player(Protocol):
    """A contestant that is ready to start."""

    def begin(self) -> None:
        """Start to render all prompts."""

    def count_stored(self) -> int:
        """The number of videos stored. Raises `ContestFailed` if the contestant has given up."""

    def read_known(self) -> dict[str, float]:
        """When the contestant knew that each prediction was completed (seconds since 1970), by the provider's id."""

    def read_extra(self) -> dict[str, float]:
        """Figures specific to this contestant."""


Contestant = Callable[[Arena], AbstractContextManager[Player]]


class ContestFailed(SystemExit):
    """A contestant did not finish its work, so there is nothing to compare; the message gives the reason."""
