"""`rushes batch`: the progress, costs and videos of a batch."""

import math
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from cli.api import open_api
from cli.batch_export import ExportFormat, download_batch, write_results
from cli.batch_progress import open_view, wait_for_batch
from cli.options import JsonOption, LimitOption
from cli.output import (
    note,
    print_answer,
    print_facts,
    print_json,
    print_list,
    print_table,
    show_counts,
    show_moment,
    show_money,
    show_seconds,
    show_text,
    show_time_left,
)
from rushes.settings import Settings, load_settings
from rushes_client.connection import Connection
from stack.errors import INTERRUPTED, CommandError

SHOWN_FAILURES = 10
LOOPBACK = ("127.0.0.1", "localhost", "::1")

app = typer.Typer(help="Batches: jobs pushed together.", no_args_is_help=True)
WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="Show progress until all jobs have ended.")]
UnverifiedOption = Annotated[
    bool, typer.Option("--unverified", help="Also fetch files that arrived but are not recognised as videos.")
]
FormatOption = Annotated[ExportFormat, typer.Option("--format", help="A table, or a JSON object per line.")]
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the videos.", show_default="here")]
NameArgument = Annotated[str, typer.Argument(metavar="BATCH", help="Name or id of a batch.")]


@app.command("show")
def show(batch: NameArgument, watch: WatchOption = False, as_json: JsonOption = False) -> None:
    """Show a batch: jobs by state, spend, time left, and the folder of its videos.

    Examples:

        rushes batch show pilot

        rushes batch show pilot --watch
    """
    settings = load_settings()
    with open_api(settings) as client:
        found = _watch(client, batch) if watch else client.get("batches", batch)
        if as_json:
            print_json(found)
        else:
            show_batch(client, found, settings=settings)


@app.command("list")
def list_batches(limit: LimitOption = 20, as_json: JsonOption = False) -> None:
    """List batches, newest first.

    Example:

        rushes batch list --limit 5
    """
    with open_api() as client:
        batches = list(client.list_items("batches", limit=limit))
    rows = (
        (
            each["name"],
            f"{each['done']:,}/{each['jobs']:,}",
            show_counts(each),
            show_money(each["cost"]["estimated"]),
            show_money(each["cost"]["spent"]),
            show_moment(each["created_at"]),
        )
        for each in batches
    )
    columns = ("BATCH", "DONE", "STATES", "ESTIMATED", "SPENT", "PUSHED")
    print_list(batches, columns, rows, nothing="there is no batch yet; `rushes submit` pushes one", as_json=as_json)


@app.command("download")
def download(
    batch: NameArgument,
    folder: FolderArgument = Path(),
    *,
    unverified: UnverifiedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch the videos of a batch into a folder, four at a time. Run it again to go on after an interruption.

    Each file is checked by its checksum. A complete file is not fetched again, and no other file is overwritten.
    `<batch>-results.csv` lists the jobs with their files.

    Examples:

        rushes batch download pilot videos

        rushes batch download pilot videos --unverified
    """
    with open_api() as client:
        paths = download_batch(client, batch, folder, unverified=unverified)
    if as_json:
        print_json({"files": [str(path) for path in paths.values()]})


@app.command("export")
def export(batch: NameArgument, form: FormatOption = ExportFormat.CSV) -> None:
    """Print the results of a batch: prompt, client_ref, state, cost, file and checksum of every job.

    Examples:

        rushes batch export pilot > results.csv

        rushes batch export pilot --format jsonl
    """
    with open_api() as client:
        write_results(client.list_items("jobs", limit=None, batch=batch), sys.stdout, form)


@app.command("delete")
def delete(batch: NameArgument, as_json: JsonOption = False) -> None:
    """Remove the files of an ended batch now, and its rows once they are eight days old. This cannot be undone.

    Unverified files are removed, too, and its jobs can no longer be retried. A batch with unfinished jobs is refused.

    Example:

        rushes batch delete pilot
    """
    with open_api() as client:
        action = client.post("actions", body={"kind": "delete", "filter": {"batch": batch}})
    print_answer(action, f"batch {batch} is being removed: its files now, its rows later", as_json=as_json)


def _watch(client: Connection, batch: str) -> dict[str, Any]:
    try:
        with open_view() as view:
            return wait_for_batch(client, batch, view=view)
    except KeyboardInterrupt:
        hint = "the batch continues without this command"
        raise CommandError("interrupted", hint=hint, exit_code=INTERRUPTED) from None


def show_batch(client: Connection, batch: dict[str, Any], *, settings: Settings) -> None:
    """Print everything about a batch for a person, and why jobs of it failed."""
    cost, account = batch["cost"], batch.get("account") or {}
    running, left = batch["done"] < batch["jobs"], batch.get("time_left")
    time_left = show_time_left(left, seconds=batch["seconds_left"], unknown=batch.get("time_left_unknown"))
    print_facts(
        {
            "batch": batch["name"],
            "id": batch["id"],
            "jobs": f"{batch['done']:,} of {batch['jobs']:,} ended: {show_counts(batch)}",
            "estimated": show_money(cost["estimated"]),
            "held": show_money(cost["held"]),
            "spent": show_money(cost["spent"]),
            "pushed": show_moment(batch["created_at"]),
            "finish by": _show_promise(batch),
            "ended": show_moment(batch["ended_at"]),
            "deleted": show_moment(batch.get("deleted_at")),
            "elapsed": show_seconds(batch["elapsed_seconds"]),
            "account": show_text(account.get("message", ""), limit=500),
            "what to do": account.get("what_to_do", ""),
            "waits for": "" if account else show_text((batch.get("wait") or {}).get("message", ""), limit=500),
            "outputs": show_text((batch.get("outputs") or {}).get("detail", ""), limit=500),
            "time left": time_left if running else "",
            "ends": f"about {show_moment(left['expected_at'])}" if running and left else "",
            "mean": f"{show_seconds(batch['mean_seconds'])} from push to file" if batch["mean_seconds"] else "",
            "folder": find_folder(batch, settings),
        }
    )
    if batch["states"]["failed"]:
        _show_failures(client, batch)


def _show_promise(batch: dict[str, Any]) -> str:
    chance = batch.get("finish_by_chance")
    parts = [show_moment(batch.get("finish_by"))]
    if batch.get("at_risk"):
        parts.append("at risk")
    if chance is not None:
        parts.append(f"{math.floor(chance * 100)} % likely to hold")
    return ", ".join(parts)


def find_folder(batch: dict[str, Any], settings: Settings) -> str:
    """Return the folder of the batch's videos as the server names it, if the server is on this machine."""
    return batch.get("folder") or "" if urlsplit(settings.url).hostname in LOOPBACK else ""


def _show_failures(client: Connection, batch: dict[str, Any]) -> None:
    failed = list(client.list_items("jobs", limit=SHOWN_FAILURES, batch=batch["id"], state="failed"))
    rows = [(job["number"], job["id"], show_text((job["error"] or {}).get("message", ""), limit=100)) for job in failed]
    print_table(("JOB", "ID", "WHY IT FAILED"), rows)
    if batch["states"]["failed"] > len(failed):
        note(f"hint: `rushes job list --batch {batch['name']} --state failed` shows all of them")
