"""`rushes prune`: remove jobs that ended long ago, with their rows and files."""

from datetime import timedelta
from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.options import JsonOption
from cli.output import note, print_facts, print_json
from cli.prompt_file.options import read_length
from rushes.errors import InvalidInput, Problem
from rushes_client.connection import Connection, Json

SHORTEST = timedelta(days=8)
"""The API refuses less, too."""
PRUNE_SECONDS = 60.0

OlderOption = Annotated[str, typer.Option("--older-than", metavar="AGE", help="Such as 90d; at least 8d.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only count what would be removed.")]


def prune(*, older_than: OlderOption, dry_run: DryRunOption = False, as_json: JsonOption = False) -> None:
    """Remove jobs that ended long ago, with their predictions, events and files. This cannot be undone.

    A batch is removed once all its jobs are that old. Totals of the account stay right. A job with an unverified file
    stays, and so does one with a purchase of which something may still come. An interrupted command can be repeated.

    Examples:

        rushes prune --older-than 90d --dry-run

        rushes prune --older-than 90d
    """
    age = read_length(older_than, option="--older-than")
    if age < SHORTEST:
        message = f"must be at least {SHORTEST.days}d: the provider lists a prediction for seven days"
        raise InvalidInput([Problem("--older-than", message)])
    asked = {"older_than_days": age / timedelta(days=1), "dry_run": dry_run}
    with open_api() as client:
        found = _count(client, asked) if dry_run else _remove(client, asked)
    if as_json:
        print_json(found)
    else:
        print_facts({name: f"{value:,}" for name, value in found.items()})


def _count(client: Connection, asked: Json) -> dict[str, int]:
    counts: dict[str, int] = client.post("prune", body=asked, seconds=PRUNE_SECONDS)["prunable"]
    return counts


def _remove(client: Connection, asked: Json) -> dict[str, int]:
    """Repeat the request until nothing is left, and return the sums."""
    sums: dict[str, int] = {}
    while True:
        answer: dict[str, Any] = client.post("prune", body=asked, seconds=PRUNE_SECONDS)
        sums = {name: sums.get(name, 0) + value for name, value in answer["removed"].items()}
        if answer["done"]:
            break
        note(f"{sums['jobs']:,} jobs and {sums['files']:,} files removed so far")
    if answer["misplaced"]:
        note(f"hint: {answer['misplaced']:,} files are outside the folder of RUSHES_ARTIFACTS_URL, and stay")
    return sums
