"""The options of commands that read a prompt file, gathered into what the code works with."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.local_files import is_path
from cli.output import show_money
from cli.prompt_file.columns import read_column_options
from cli.prompt_file.jobs import Fill, Prepared
from cli.prompt_file.parse import ReadOptions
from cli.prompt_file.push import can_ask
from cli.prompt_file.text import Split
from rushes.errors import InvalidInput, Problem
from stack.errors import BAD_INPUT, CommandError

_LENGTH = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?")


@dataclass(frozen=True, slots=True)
class Consent:
    """How much a push may cost, and whether a person is asked first."""

    max_cost: float | None
    yes: bool

    def check(self, prepared: Prepared, *, ask_above: float) -> None:
        """Raise `InvalidInput` if the jobs cost too much, and `CommandError` if a person says no."""
        if self.max_cost is not None and prepared.cost > Decimal(str(self.max_cost)):
            message = f"the jobs cost {show_money(str(prepared.cost))}: nothing was pushed"
            raise InvalidInput([Problem("--max-cost", message)])
        if self.yes or prepared.cost <= Decimal(str(ask_above)) or not can_ask():
            return
        question = f"Push {len(prepared.jobs):,} jobs for {show_money(str(prepared.cost))}?"
        if not typer.confirm(question, err=True):
            raise CommandError("not confirmed: nothing was pushed", exit_code=BAD_INPUT)


def read_options(
    *,
    split: Annotated[Split, typer.Option(help="How a .txt file divides into prompts.")] = Split.AUTO,
    header: Annotated[bool, typer.Option("--header/--no-header", help="Whether a table begins with names.")] = True,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=COLUMN", help="Read a field from this column or key: prompt=Text. Repeatable."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Leave a column or key out. Repeatable.")
    ] = None,
) -> ReadOptions:
    """How to read the file."""
    return ReadOptions(split=split, has_header=header, columns=read_column_options(column or (), ignore or ()))


def read_fill(
    *,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Video model for lines that name none.")] = None,
    duration: Annotated[
        int | None, typer.Option("--duration", "-d", help="Seconds of video, for lines that do not set it.")
    ] = None,
    audio: Annotated[
        bool | None, typer.Option("--audio/--no-audio", help="Sound or no sound, for lines that do not set it.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="First frame, for lines that do not set it.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option(help="Priority for lines that do not set it. Higher goes first.")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(help="Maximum number of purchases per job, for lines that do not set it.")
    ] = None,
) -> Fill:
    """Values for lines that do not set them."""
    image = str(Path(image).absolute()) if image and is_path(image) else image
    return Fill(model=model, duration=duration, audio=audio, image=image, priority=priority, max_attempts=max_attempts)


def read_consent(
    *,
    max_cost: Annotated[
        float | None, typer.Option(metavar="DOLLARS", min=0, help="Push nothing if the jobs cost more than this.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for a confirmation.")] = False,
) -> Consent:
    """How much may be spent."""
    return Consent(max_cost, yes)


def gather(**makers: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a command take objects instead of single options: each is made from the options of its maker."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        options = {name: inspect.signature(maker).parameters for name, maker in makers.items()}

        @wraps(command)
        def run(**given: Any) -> Any:
            made = {
                name: maker(**{option: given.pop(option) for option in options[name]}) for name, maker in makers.items()
            }
            return command(**given, **made)

        signature = inspect.signature(command)
        own = [each for name, each in signature.parameters.items() if name not in makers]
        added = [each for parameters in options.values() for each in parameters.values()]
        run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
        return run

    return decorate


def read_deadline(
    *,
    finish_by: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Deadline with its zone: 2026-01-01T12:00Z. The batch is marked at risk if it is likely to miss it.",
        ),
    ] = None,
    finish_in: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="Deadline as a length from now: 2h, 90m, 1d12h.")
    ] = None,
) -> str | None:
    """The time by which the batch should end."""
    return read_finish_by(finish_by, finish_in)


def read_finish_by(finish_by: str | None, finish_in: str | None, *, now: datetime | None = None) -> str | None:
    """Return the time for the API; None if neither is given. Raises `InvalidInput`, which names the option."""
    if finish_by is not None and finish_in is not None:
        raise InvalidInput([Problem("--finish-in", "cannot be given together with --finish-by")])
    if finish_in is not None:
        return _spell((now or datetime.now(UTC)) + read_length(finish_in, option="--finish-in"))
    return None if finish_by is None else _spell(read_time(finish_by, option="--finish-by"))


def read_time(words: str, *, option: str) -> datetime:
    """Return a time with its zone. Raises `InvalidInput`, which names the option."""
    try:
        at = datetime.fromisoformat(words)
    except ValueError:
        raise InvalidInput([Problem(option, f"must be a time such as 2026-01-01T12:00Z, not {words!r}")]) from None
    if at.tzinfo is None:
        raise InvalidInput([Problem(option, f"must name its time zone, such as {words}Z or {words}+01:00")])
    return at


def read_length(words: str, *, option: str) -> timedelta:
    """Return a length such as `1d12h`. Raises `InvalidInput`, which names the option."""
    found = _LENGTH.fullmatch(words.replace(" ", ""))
    if not found or not any(found.groups()):
        raise InvalidInput([Problem(option, f"must be a length such as 2h, 90m or 1d12h, not {words!r}")])
    days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _spell(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
