"""`rushes batch retry|cancel|priority|pause|resume`: one change to the jobs of a batch."""

from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.commands import batch as batch_commands
from cli.commands.action import DryRunOption, YesOption, change_jobs
from cli.commands.batch import NameArgument
from cli.local_files import read_replacements
from cli.options import JsonOption
from cli.prompt_file.options import gather
from models import JobState

app = batch_commands.app

CodeOption = Annotated[str | None, typer.Option("--code", help="Only jobs whose last failure has this code.")]
StatesOption = Annotated[list[JobState] | None, typer.Option("--state", help="Only jobs in this state. Repeatable.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Replace a value of each job's input. Repeatable."),
]


def read_part(*, state: StatesOption = None, code: CodeOption = None) -> dict[str, Any]:
    """Which jobs of the batch."""
    return {"state": [each.value for each in state or ()], "code": code}


@app.command("retry")
@gather(part=read_part)
def retry(
    batch: NameArgument,
    *,
    part: dict[str, Any],
    replaced: SetOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Queue the failed and cancelled jobs of a batch again. Videos that are paid for are fetched, not bought again.

    Examples:

        rushes batch retry pilot --code provider

        rushes batch retry pilot --code input_refused --set duration=8
    """
    arguments = {"input": _read_inputs(batch, replaced)} if replaced else None
    change_jobs("retry", {"batch": batch, **part}, yes=yes, dry_run=dry_run, as_json=as_json, arguments=arguments)


@app.command("cancel")
@gather(part=read_part)
def cancel(
    batch: NameArgument,
    *,
    part: dict[str, Any],
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Cancel the jobs of a batch that have not ended. A render in progress is paid for, and its video is kept.

    Examples:

        rushes batch cancel pilot

        rushes batch cancel pilot --state queued
    """
    change_jobs("cancel", {"batch": batch, **part}, yes=yes, dry_run=dry_run, as_json=as_json)


@app.command("priority")
@gather(part=read_part)
def set_priority(
    batch: NameArgument,
    priority: Annotated[int, typer.Argument(help="Higher goes first; 0 unless it was changed.")],
    *,
    part: dict[str, Any],
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Change the priority of the jobs of a batch that have not ended.

    Example:

        rushes batch priority pilot 10
    """
    arguments = {"priority": priority}
    change_jobs("priority", {"batch": batch, **part}, yes=True, dry_run=dry_run, as_json=as_json, arguments=arguments)


@app.command("pause")
@gather(part=read_part)
def pause(
    batch: NameArgument, *, part: dict[str, Any], dry_run: DryRunOption = False, as_json: JsonOption = False
) -> None:
    """Give no job of a batch a slot until it is resumed. Jobs that have a slot are still submitted and rendered.

    `rushes batch cancel` also withdraws jobs that have a slot, if they are not submitted yet.

    Examples:

        rushes batch pause pilot

        rushes batch pause pilot --state queued
    """
    change_jobs("pause", {"batch": batch, **part}, yes=True, dry_run=dry_run, as_json=as_json)


@app.command("resume")
@gather(part=read_part)
def resume(
    batch: NameArgument, *, part: dict[str, Any], dry_run: DryRunOption = False, as_json: JsonOption = False
) -> None:
    """Submit the jobs of a paused batch again.

    Example:

        rushes batch resume pilot
    """
    change_jobs("resume", {"batch": batch, **part}, yes=True, dry_run=dry_run, as_json=as_json)


def _read_inputs(batch: str, pairs: list[str]) -> dict[str, Any]:
    """Read the values by the video model of the batch's newest job. The API checks them for each job."""
    with open_api() as client:
        newest = next(iter(client.list_items("jobs", limit=1, batch=batch)), None)
        return read_replacements(client, newest["id"], pairs) if newest else {}
