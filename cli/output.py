"""Output on stdout: JSON for programs, tables and lines for people. Everything else goes to stderr."""

import contextlib
import json
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.tables.access import DEFAULT_TENANT_NAME

_UNBOUNDED = 100_000
_UNKNOWN = {
    "paused": "unknown: the account is paused",
    "job_paused": "unknown: a person has paused some of the jobs",
    "undecided": "unknown: an unconfirmed submission waits for a person, see rushes unconfirmed list",
    "no_dispatcher": "unknown until a dispatcher leads",
    "no_credit": "unknown: the account has no credit",
    "key_rejected": "unknown: the provider rejects the key",
    "provider_unreachable": "unknown: the provider is unreachable",
    "store_unusable": "unknown: Rushes submits nothing, because it could not store the videos",
    "spending_cap": "unknown: the daily spending cap stops submissions until 00:00 UTC",
}
COLOURS = {
    "queued": "dim",
    "rendering": "cyan",
    "storing": "blue",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
}
"""Each state of a job with its colour, in life-cycle order."""


def print_json(value: Any) -> None:
    """Print one JSON document on stdout, and nothing else."""
    readable = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(value, indent=2, ensure_ascii=not readable))


def note(message: str) -> None:
    """Print a line for a person on stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(message))


def print_errors(errors: Sequence[str], *, hint: str = "") -> None:
    """Print `error: ...` per error, then `hint: ...` per line of the hint, on stderr."""
    lines = [f"error: {error}" for error in errors] + [f"hint: {line}" for line in hint.splitlines()]
    with contextlib.suppress(OSError, ValueError):  # stderr may be closed
        print("\n".join(lines), file=sys.stderr, flush=True)


def print_line(message: str) -> None:
    """Print a line of a command's result on stdout."""
    Console(highlight=False, soft_wrap=True).print(Text(message))


def print_answer(answer: Any, line: str, *, as_json: bool) -> None:
    """Print an answer of the API as JSON, or as the line that says it to a person."""
    if as_json:
        print_json(answer)
    else:
        print_line(line)


def print_list(
    items: Sequence[Any], columns: Sequence[str], rows: Iterable[Sequence[object]], *, nothing: str, as_json: bool
) -> None:
    """Print a list as JSON, or its rows as a table. `nothing` tells a person that the list is empty.

    Items of several tenants get a column for the tenant.
    """
    tenants = [each.get("tenant") for each in items]
    if len(set(tenants)) > 1:
        columns, rows = ("TENANT", *columns), ((tenant, *row) for tenant, row in zip(tenants, rows, strict=True))
    if as_json:
        print_json({"items": items})
    elif items:
        print_table(columns, rows)
    else:
        note(nothing)


def print_facts(facts: Mapping[str, object]) -> None:
    """Print names and values in two columns. Empty values are omitted, and long ones are not cut."""
    given = {name: value for name, value in facts.items() if value not in (None, "")}
    width = max(map(len, given), default=0)
    console = Console(highlight=False, soft_wrap=True)
    for name, value in given.items():
        shown = value if isinstance(value, Text) else Text(str(value))
        console.print(Text.assemble((f"{name:<{width}}", "dim"), "  ", shown))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table. On a terminal the last column is cut to fit; elsewhere nothing is cut."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold")
    cells = [[cell if isinstance(cell, Text) else Text(str(cell)) for cell in row] for row in rows]
    for index, column in enumerate(columns):
        width = max([len(column), *(len(row[index]) for row in cells)])
        is_last = index == len(columns) - 1
        table.add_column(column, overflow="ellipsis", no_wrap=True, min_width=None if is_last else width)
    for row in cells:
        table.add_row(*row)
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(table)
        return
    console = Console(highlight=False, width=_UNBOUNDED)  # `print` is limited to the console's own width
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def show_state(state: str) -> Text:
    """A state in its colour."""
    return Text(state, style=COLOURS.get(state, ""))


def show_counts(batch: Mapping[str, Any]) -> str:
    """`3 queued, 2 rendering, 1 waiting at the provider`: the states that have jobs, in life-cycle order. It
    counts renders submitted beyond the slots separately."""
    waiting, counts = batch.get("waiting_at_provider") or 0, []
    for state in COLOURS:
        count = batch["states"].get(state) or 0
        count -= waiting if state == "rendering" else 0
        counts += [f"{count:,} {state}"] if count > 0 else []
        counts += [f"{waiting:,} waiting at the provider"] if state == "rendering" and waiting else []
    return ", ".join(counts) or "no jobs"


def place_of(job: Mapping[str, Any]) -> str:
    """`pilot/3`: its place in its batch, if it has one."""
    return f"{batch_of(job)}/{job['number']}" if job["batch"] else ""


def batch_of(job: Mapping[str, Any]) -> str:
    """`pilot`: the name of its batch, with `TENANT:` before that of a tenant other than `default`."""
    tenant = job.get("tenant", DEFAULT_TENANT_NAME)
    return str(job["batch"]) if tenant == DEFAULT_TENANT_NAME else f"{tenant}:{job['batch']}"


def show_money(dollars: str | None) -> str:
    """`$14.40`: two decimals, or more if the amount needs them."""
    if dollars is None:
        return ""
    whole, _, rest = dollars.partition(".")
    return f"${int(whole):,}.{rest.rstrip('0'):0<2}"


def show_seconds(seconds: float | None) -> str:
    """`4 s`, `3:07`, `1:02:11`."""
    if seconds is None:
        return "unknown"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{left:02}"
    return f"{minutes}:{left:02}" if minutes else f"{left} s"


def show_time_left(left: Mapping[str, Any] | None, *, seconds: float | None = None, unknown: str | None = None) -> str:
    """`about 5:00 (4:10 to 6:30)`: the expected time and the interval that holds nine times in ten.

    Without an interval: `about 5:00`. Without either: the reason for the API's code `unknown`, or nothing.
    """
    if left is None and seconds is None:
        return _UNKNOWN.get(unknown or "", "")
    if left is None:
        return f"about {show_seconds(seconds)}"
    interval = f"{show_seconds(left['low_seconds'])} to {show_seconds(left['high_seconds'])}"
    return f"about {show_seconds(left['expected_seconds'])} ({interval})"


def show_moment(moment: str | None) -> str:
    """Show a time of the API in this machine's time zone, to the second."""
    if not moment:
        return ""
    local = datetime.fromisoformat(moment).astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S}"


def show_age(moment: str, *, now: datetime) -> str:
    """`1d4h`, `2h5m`, `9m3s`, `4s`: the time since this time of the API, as options take it."""
    seconds = max(0, int((now - datetime.fromisoformat(moment)).total_seconds()))
    counts = zip((seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60, seconds % 60), "dhms", strict=True)
    units = [f"{count}{unit}" if count else "" for count, unit in counts]
    first = next((index for index, unit in enumerate(units) if unit), 0)
    return "".join(units[first : first + 2]) or "0s"


def show_text(text: object, *, limit: int = 60) -> str:
    """Show outside text in one line: cut to `limit`, and without terminal control characters."""
    line = " ".join("".join(char if char.isprintable() else " " for char in str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def name_for(stem: str, *, now: datetime) -> str:
    """Make a batch name from a file's name, the time in UTC and chance, so that no other push has it."""
    clean = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in stem)
    return f"{clean.strip('._-')[:40] or 'batch'}-{now.astimezone(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
