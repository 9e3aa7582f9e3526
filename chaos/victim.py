"""The victim of a run: any system that accepts jobs and runs as processes that can be killed and frozen."""

import contextlib
import os
import signal
from dataclasses import dataclass, field
from typing import Protocol

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


class Victim(Protocol):
    """The interface a run needs. No method raises because a server is away."""

    def tend(self) -> None:
        """Start each process that does not run."""

    def end(self) -> None:
        """SIGKILL all of it; `tend` starts it again."""

    def find(self, target: str) -> Member | None:
        """The process in this role (`main`, `leader`, `store`, `api`); None if there is none now."""

    def push(self, push: Push) -> None:
        """Start to push these jobs, and continue until they are stored; returns at once."""

    @property
    def is_pushing(self) -> bool:
        """Whether a push is under way."""

    def count_ended(self) -> int | None:
        """The number of jobs that have ended, successfully or not; None if it cannot be read now."""

    def hasten(self) -> None:
        """All faults are over: run at once every step that only waits for its next attempt."""

    def dump_stacks(self) -> None:
        """Nothing makes progress: have every process write its stacks to its log."""


def send_signal(pid: int | None, number: signal.Signals) -> None:
    """Signal a process; does nothing if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, number)
