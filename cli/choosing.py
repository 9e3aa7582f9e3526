"""The options by which commands choose jobs, as query parameters of the API."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli.prompt_file.options import read_length, read_time
from rushes.errors import InvalidInput, Problem

BatchOption = Annotated[str | None, typer.Option("--batch", "-b", help="Only jobs of this batch, by name or id.")]
CodeOption = Annotated[str | None, typer.Option("--code", help="Only jobs that ended with this failure code.")]
ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="Only jobs for this video model, by id or short name.")
]
_MOMENT = "a time such as 2026-01-01T12:00Z, or an age such as 2h"


def read_which(
    *,
    batch: BatchOption = None,
    code: CodeOption = None,
    model: ModelOption = None,
    client_ref: Annotated[str | None, typer.Option(help="Only jobs with this id of your own.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only jobs of this tenant, with a key that reaches it.")] = None,
) -> dict[str, Any]:
    """Which jobs, whenever they were pushed."""
    return {"batch": batch, "code": code, "model": model, "client_ref": client_ref, "tenant": tenant}


def read_when(
    *,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only jobs pushed longer ago: 2h, 90m, 1d12h.")
    ] = None,
    newer_than: Annotated[str | None, typer.Option(metavar="AGE", help="Only jobs pushed since then: 30m.")] = None,
    ended_after: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"Only jobs that ended since then: {_MOMENT}.")
    ] = None,
    ended_before: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"Only jobs that ended before: {_MOMENT}.")
    ] = None,
) -> dict[str, str | None]:
    """When they were pushed, and when they ended."""
    return {
        "created_before": older_than and read_age(older_than, option="--older-than"),
        "created_after": newer_than and read_age(newer_than, option="--newer-than"),
        "ended_after": ended_after and read_moment(ended_after, option="--ended-after"),
        "ended_before": ended_before and read_moment(ended_before, option="--ended-before"),
    }


def read_age(words: str, *, option: str, now: datetime | None = None) -> str:
    """Return the time that was this long ago. Raises `InvalidInput`, which names the option."""
    return ((now or datetime.now(UTC)) - read_length(words, option=option)).isoformat()


def read_moment(words: str, *, option: str, now: datetime | None = None) -> str:
    """Return a time, given as such or as an age. Raises `InvalidInput`, which names the option."""
    if words[:4].isdecimal() and "-" in words:
        return read_time(words, option=option).isoformat()
    try:
        return read_age(words, option=option, now=now)
    except InvalidInput:
        raise InvalidInput([Problem(option, f"must be {_MOMENT}, not {words!r}")]) from None
