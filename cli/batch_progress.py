"""Wait for a batch to end and show its progress: live on a terminal, line by line elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.output import show_counts, show_moment, show_money, show_seconds, show_text, show_time_left
from rushes.timing import Every
from rushes_client.connection import Connection
from rushes_client.errors import ApiAway, ClientError, Declined
from rushes_client.streaming import Changes

REFRESH_SECONDS = 1.0
PLAIN_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 10.0

Pause = Callable[[float], None]


def wait_for_batch(
    client: Connection,
    name: str,
    *,
    view: "View",
    every: float = REFRESH_SECONDS,
    pause: Pause = time.sleep,
) -> dict[str, Any]:
    """Check a batch until all its jobs have ended, and return it. Keep trying while the API is temporarily away.

    It checks when an event says that something has happened, and without events as often as it pauses.

    `pause` waits between two checks and may raise to end the waiting.
    """
    changes, failures = Changes(client, name), 0
    while True:
        try:
            batch = client.get("batches", name)
        except ClientError as error:
            if not _is_temporary(error):
                raise
            failures += 1
            if failures == 1:
                view.note(f"{error}; the batch continues, and this command retries until the API answers")
            pause(min(LONGEST_PAUSE_SECONDS, every * 2 ** min(failures, 10)))
            continue
        if failures:
            view.note("the API answers again")
            failures = 0
        view.show(batch)
        if batch["done"] >= batch["jobs"] and batch["state"] != "open":
            return batch
        for _ in range(round(LONGEST_PAUSE_SECONDS / 2)):
            pause(every)
            if changes.take():
                break


def describe_batch(batch: dict[str, Any]) -> str:
    """Describe the batch's progress in one line."""
    cost = batch["cost"]
    parts = [
        show_counts(batch),
        f"{show_money(cost['spent'])} of {show_money(cost['estimated'])} spent",
    ]
    if batch["elapsed_seconds"] is not None:
        parts.append(f"{show_seconds(batch['elapsed_seconds'])} elapsed")
    if batch["done"] < batch["jobs"]:
        left = show_time_left(batch.get("time_left"), seconds=batch["seconds_left"])
        unknown = show_time_left(None, unknown=batch.get("time_left_unknown")) or "not known yet"
        parts.append(f"{left} left" if left else f"time left {unknown}")
        if batch.get("at_risk"):
            parts.append(f"at risk of ending after {show_moment(batch['finish_by'])}")
    return " · ".join(parts)


def describe_stop(batch: dict[str, Any]) -> list[str]:
    """Describe why the account is stopped, and what to do, in one line each. Empty if the account works."""
    account = batch.get("account")
    return [show_text(account[name], limit=500) for name in ("message", "what_to_do")] if account else []


@contextmanager
def open_view(console: Console | None = None) -> "Iterator[View]":
    """Open the view that suits stderr."""
    console = console or Console(stderr=True, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        with Live(console=console, refresh_per_second=4, redirect_stdout=False) as live:
            yield LiveView(live)
    else:
        yield PlainView(console)


class LiveView:
    """A bar and a line under it, redrawn in place."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, batch: dict[str, Any]) -> None:
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=batch["jobs"], completed=batch["done"], width=40)
        head.add_row(Text(batch["name"], style="bold"), bar, Text(f"{batch['done']:,}/{batch['jobs']:,}"))
        self._live.update(Group(head, Text(describe_batch(batch)), *map(Text, describe_stop(batch))))

    def note(self, message: str) -> None:
        """Show a line that later progress does not overwrite."""
        self._live.console.print(Text(message))


class PlainView:
    """Prints a line when something has changed, but at most every `PLAIN_SECONDS` until the batch ends."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._states: dict[str, int] | None = None
        self._condition: str | None = None
        self._printing = Every(PLAIN_SECONDS)

    def show(self, batch: dict[str, Any]) -> None:
        ended = batch["done"] >= batch["jobs"]
        self._show_stop(batch)
        if batch["states"] == self._states or not (ended or self._printing.begin_if_due(self._clock())):
            return
        self._states = batch["states"]
        self.note(f"{batch['name']}: {batch['done']:,}/{batch['jobs']:,} done · {describe_batch(batch)}")

    def _show_stop(self, batch: dict[str, Any]) -> None:
        condition = (batch.get("account") or {}).get("condition")
        if condition == self._condition:
            return
        self._condition = condition
        for line in describe_stop(batch) or ["the account works again"]:
            self.note(line)

    def note(self, message: str) -> None:
        self._console.print(Text(message), soft_wrap=True)


View = LiveView | PlainView


def _is_temporary(error: ClientError) -> bool:
    return isinstance(error, ApiAway) or (isinstance(error, Declined) and error.status >= 500)
