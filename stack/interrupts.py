"""Ctrl-C and the other signals to stop, as something to ask about instead of something that strikes anywhere."""

import signal
from types import FrameType, TracebackType
from typing import Self

from stack.errors import INTERRUPTED, CommandError

_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(CommandError):
    """Somebody asked the command to stop."""

    def __init__(self) -> None:
        super().__init__("interrupted", exit_code=INTERRUPTED)


class Interrupts:
    """Counts SIGINT, SIGTERM and SIGHUP while it is open; a signal that was ignored before stays ignored.

    Nothing is raised where the signal strikes, since that could lose a process just started. While `is_blocking` is
    set, for a wait that does not ask, the second one raises `KeyboardInterrupt` all the same.
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
        """Asked more than once: no more patience."""
        return self.count > 1

    def check(self) -> None:
        """Raises `Interrupted` once somebody has asked."""
        if self.count:
            raise Interrupted

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.is_blocking and self.is_forced:
            raise KeyboardInterrupt
