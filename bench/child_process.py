"""A function that runs in its own process, in parallel with the caller."""

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
"""Raises if the process was asked to stop; the function must call it regularly."""

END_SECONDS = 30.0


class ChildProcess(Generic[Subject, Result]):
    """Starts `work(subject, check)` at the start of the block; the end of the block stops the process.

    The function, its argument and its result must be importable by name or picklable. The process has its own main
    thread, which embedded servers need.
    """

    def __init__(self, work: Callable[[Subject, Check], Result], subject: Subject) -> None:
        context = multiprocessing.get_context("spawn")
        self._answer, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(work, subject, sender))
        self._sender = sender

    def __enter__(self) -> Self:
        self._process.start()
        self._sender.close()  # only the child then holds it, so that its death is noticed
        return self

    def wait(self, check: Check, *, every: float = 0.5) -> Result:
        """The result. Raises any error from `check`, and `CommandError` if the process has died."""
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
