"""What every contestant finds, and what is asked of it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.loads import Load
from sandbox.wavespeed import Simulator


@dataclass(frozen=True, slots=True)
class Arena:
    """The load, the provider, an empty folder, the prompts."""

    load: Load
    simulator: Simulator
    folder: Path
    prompts: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of Rushes, on request of whoever measures."""


class Player(Protocol):
    """A contestant that is ready."""

    def begin(self) -> None:
        """Take the order of all prompts."""

    def count_stored(self) -> int:
        """How many videos are stored. Raises `ContestFailed` when the contestant has given up."""

    def read_known(self) -> dict[str, float]:
        """When each completed prediction was known to be (seconds since 1970), by the provider's id."""

    def read_extra(self) -> dict[str, float]:
        """Figures that only this contestant has."""


Contestant = Callable[[Arena], AbstractContextManager[Player]]


class ContestFailed(SystemExit):
    """A contestant did not do its work, so there is nothing to compare; the message says why."""
