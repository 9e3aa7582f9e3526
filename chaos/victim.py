"""Whom a run breaks: anything that takes jobs and is made of processes that can be killed and frozen."""

import contextlib
import os
import signal
from typing import Protocol

from chaos.plan import Push
from stack.services import ProcessService


class Member:
    """A process of the victim's."""

    def __init__(self, service: ProcessService) -> None:
        self.service = service
        self._frozen: int | None = None  # its process id

    @property
    def is_frozen(self) -> bool:
        return self._frozen is not None and self._frozen == self.service.pid

    def tend(self) -> None:
        """Start it where it does not run, as any process manager would."""
        if self.service.find_ending() is not None:
            self.service.start()
            self._frozen = None

    def kill(self) -> None:
        """SIGKILL; it is gone on return."""
        self.service.end()

    def freeze(self) -> int | None:
        """SIGSTOP; returns the process id for `thaw`."""
        self._frozen = self.service.pid
        _signal(self._frozen, signal.SIGSTOP)
        return self._frozen

    def thaw(self, pid: int | None) -> None:
        """SIGCONT, unless another process has taken its place."""
        if pid == self.service.pid:
            _signal(pid, signal.SIGCONT)
            self._frozen = None

    def dump_stacks(self) -> None:
        """Celery answers SIGUSR1 by writing what each of its threads does into its log."""
        _signal(self.service.pid, signal.SIGUSR1)


class Victim(Protocol):
    """What a run needs to know of it. Nothing here raises because a server is away."""

    def tend(self) -> None:
        """Start what does not run."""

    def end(self) -> None:
        """SIGKILL all of it; `tend` starts it again."""

    def find(self, target: str) -> Member | None:
        """The process in this role (`main`, `leader`, `store`, `api`); None where there is none now."""

    def push(self, push: Push) -> None:
        """Begin to push these jobs, and go on until they are there; returns at once."""

    @property
    def is_pushing(self) -> bool:
        """Whether jobs are on their way."""

    def count_ended(self) -> int | None:
        """Jobs that have ended, well or not; None where nobody can tell now."""

    def hasten(self) -> None:
        """All faults are over: whatever only waits to try again may do so now."""

    def dump_stacks(self) -> None:
        """Nothing goes on: have everybody write down what they do."""


def _signal(pid: int | None, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, number)
