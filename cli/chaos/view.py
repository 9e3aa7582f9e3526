"""How far a run is: a bar on a terminal, a line every ten seconds elsewhere."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from cli.chaos.assault import Moment
from cli.printing import show_seconds

PLAIN_SECONDS = 10.0


class RunView:
    """Looks on at one run. `check` is called at every look and may raise to end the run."""

    def __init__(self, name: str, *, check: Callable[[], None], console: Console | None = None) -> None:
        self._name = name
        self._check = check
        self._console = console or Console(stderr=True, highlight=False)
        self._is_lively = self._console.is_terminal and not self._console.is_dumb_terminal
        columns = (TextColumn("{task.description}"), BarColumn(40), TextColumn("{task.fields[told]}"))
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._task = self._progress.add_task(name, total=None, told="starting")
        self._next_at = 0.0

    def __enter__(self) -> Self:
        if self._is_lively:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._is_lively:
            self._progress.stop()

    def look(self, moment: Moment) -> None:
        """Show it. Raises what `check` raises."""
        self._check()
        if self._is_lively:
            self._progress.update(self._task, total=moment.jobs, completed=moment.ended, told=describe(moment))
        elif moment.seconds >= self._next_at:
            self._next_at = moment.seconds + PLAIN_SECONDS
            self._console.print(Text(f"{self._name}: {describe(moment)}"), soft_wrap=True)


def describe(moment: Moment) -> str:
    """One line."""
    ended = f"{moment.ended}/{moment.jobs} ended, {moment.faults} faults"
    if moment.phase == "faults":
        return f"{ended}, {show_seconds(moment.seconds)} of about {show_seconds(moment.of_seconds)}"
    return f"{ended}, all faults are over, waiting for the last jobs ({show_seconds(moment.seconds)})"
