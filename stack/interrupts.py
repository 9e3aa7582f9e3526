"""Ctrl-C and other stop signals, recorded so that code can check for them at safe points."""

import signal
from types import FrameType, TracebackType
from typing import Self

from stack.errors import INTERRUPTED, CommandError

_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(CommandError):
    """A signal asked the command to stop."""

    def __init__(self) -> None:
        super().__init__("interrupted", exit_code=INTERRUPTED)


class Interrupts:
    """Counts SIGINT, SIGTERM and SIGHUP while it is open; a signal that was ignored before stays ignored.

    The signal handler raises nothing, since that could lose track of a process just started. Only while `is_blocking`
    is set, during a wait that does not call `check`, the second signal raises `KeyboardInterrupt`.
    """

    def __init__(self) -> None:
        self.count = 0
        self.is_blocking = False
        self._before: dict[signal.Signals, signal.Handlers] = {}

    def __enter__(self) -> Self:
        for number in _ASKING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)  # type: ignore[assignment]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def is_forced(self) -> bool:
        """Whether more than one signal came: stop waiting and kill."""
        return self.count > 1

    def check(self) -> None:
        """Raises `Interrupted` if a signal has come."""
        if self.count:
            raise Interrupted

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.is_blocking and self.is_forced:
            raise KeyboardInterrupt
