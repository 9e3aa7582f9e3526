"""A function that runs in a process of its own, beside what the caller does."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

from stack.errors import CommandError
from stack.interrupts import Interrupts

Subject = TypeVar("Subject")
Result = TypeVar("Result")
Check = Callable[[], None]
"""Raises once somebody has asked the process to stop; to be called now and then."""

END_SECONDS = 30.0


class Beside(Generic[Subject, Result]):
    """Runs `work(subject, check)` from the beginning of the block on; at its end the process is told to stop.

    The function and what it takes and gives must be known by name or to pickle. It has a main thread of its own, which
    embedded servers want.
    """

    def __init__(self, work: Callable[[Subject, Check], Result], subject: Subject) -> None:
        context = multiprocessing.get_context("spawn")
        self._answer, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(work, subject, sender))
        self._sender = sender

    def __enter__(self) -> Self:
        self._process.start()
        self._sender.close()  # so that only the process holds it, and its death is seen
        return self

    def wait(self, check: Check, *, every: float = 0.5) -> Result:
        """The result. Raises what `check` raises meanwhile, and `CommandError` where the process has died."""
        while not self._answer.poll(every):
            check()
        try:
            return cast(Result, self._answer.recv())
        except EOFError:
            raise CommandError(f"{self._process.name} ended without a result") from None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.join(END_SECONDS)
        self._process.kill()
        self._process.join()


def _run(work: Callable[[Subject, Check], Result], subject: Subject, sender: Connection) -> None:
    with Interrupts() as interrupts:
        sender.send(work(subject, interrupts.check))
