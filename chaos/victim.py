"""The victim of a run: any system that accepts jobs and runs as processes that can be killed and frozen."""

import contextlib
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.plan import Push
from stack.services import ProcessService


@dataclass(kw_only=True, eq=False)
class Member(ProcessService):
    """One process of the victim."""

    _frozen: int | None = field(default=None, init=False)  # its process id

    @property
    def is_frozen(self) -> bool:
        return self._frozen is not None and self._frozen == self.pid

    def tend(self) -> None:
        """Start it if it does not run, as any process manager would."""
        if self.find_ending() is not None:
            self.start()
            self._frozen = None

    def freeze(self) -> int | None:
        """SIGSTOP; returns the process id for `thaw`."""
        self._frozen = self.pid
        send_signal(self._frozen, signal.SIGSTOP)
        return self._frozen

    def thaw(self, pid: int | None) -> None:
        """SIGCONT, unless another process has taken its place."""
        if pid == self.pid:
            send_signal(pid, signal.SIGCONT)
            self._frozen = None

    def dump_stacks(self) -> None:
        """Send SIGUSR1: Celery writes the stack of each of its threads to its log."""
        send_signal(self.pid, signal.SIGUSR1)


class Victim(ABC):
    """A system that accepts jobs, as its processes by name. No method raises because a server is away."""

    def __init__(self, commands: Mapping[str, Sequence[str]], *, environment: Mapping[str, str], logs: Path) -> None:
        self._members = {
            name: Member(name=name, words=words, environment=environment, log=logs / f"{name}.log")
            for name, words in commands.items()
        }

    def tend(self) -> None:
        """Start each process that does not run."""
        for member in self._members.values():
            member.tend()

    def end(self) -> None:
        """SIGKILL all of it; `tend` starts it again."""
        for member in self._members.values():
            member.end()

    def dump_stacks(self) -> None:
        """Nothing makes progress: have every worker write its stacks to its log. An API would die of the signal."""
        for name, member in self._members.items():
            if name != "api":
                member.dump_stacks()

    @abstractmethod
    def hasten(self) -> None:
        """All faults are over: run at once every step that only waits for its next attempt."""

    @abstractmethod
    def find(self, target: str) -> Member | None:
        """The process in this role (`main`, `leader`, `store`, `api`); None if there is none now."""

    @abstractmethod
    def push(self, push: Push) -> None:
        """Start to push these jobs, and continue until they are stored; returns at once."""

    @property
    @abstractmethod
    def is_pushing(self) -> bool:
        """Whether a push is under way."""

    @abstractmethod
    def count_ended(self) -> int | None:
        """The number of jobs that have ended, successfully or not; None if it cannot be read now."""


def send_signal(pid: int | None, number: signal.Signals) -> None:
    """Signal a process; does nothing if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, number)
