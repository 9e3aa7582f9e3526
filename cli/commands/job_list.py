"""`rushes job list`: jobs by their properties, in the order that a person needs."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.choosing import read_when, read_which
from cli.options import JsonOption, LimitOption
from cli.output import place_of, print_list, show_age, show_state, show_text
from cli.prompt_file.options import gather
from models import JobState
from models.queries.job_lists import JobSort

_COLUMNS = ("ID", "STATE", "AGE", "BATCH", "MODEL", "ERROR", "PROMPT")


def read_order(
    *,
    sort: Annotated[
        JobSort,
        typer.Option(
            help="created: newest first. age: oldest first. ended: only ended jobs, the last one first. "
            "cost: by the price of one render, dearest first."
        ),
    ] = JobSort.CREATED,
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="The other way round.")] = False,
) -> dict[str, Any]:
    """In which order."""
    return {"sort": sort.value, "reverse": True if reverse else None}


@gather(which=read_which, when=read_when, order=read_order)
def list_jobs(
    *,
    state: Annotated[
        list[JobState] | None, typer.Option(help="Only jobs in this state. Repeatable: in one of these states.")
    ] = None,
    which: dict[str, Any],
    when: dict[str, Any],
    order: dict[str, Any],
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first unless --sort says otherwise.

    Examples:

        rushes job list --batch pilot --state failed --state cancelled

        rushes job list --state failed --ended-after 1h --sort ended

        rushes job list --state queued --older-than 2h --sort age

        rushes job list --state rendering --json
    """
    states = [each.value for each in state or ()]
    with open_api() as client:
        jobs = list(client.list_items("jobs", limit=limit, state=states, **which, **when, **order))
    now = datetime.now(UTC)
    print_list(jobs, _COLUMNS, (_show_row(each, now) for each in jobs), nothing="no such jobs", as_json=as_json)


def _show_row(job: dict[str, Any], now: datetime) -> tuple[object, ...]:
    error, age = job["error"], show_age(job["created_at"], now=now)
    failure = show_text(f"{error['code']}: {error['message']}", limit=48) if error else ""
    prompt = show_text(job["input"].get("prompt", ""))
    return job["id"], show_state(job["state"]), age, place_of(job), job["model"], failure, prompt
