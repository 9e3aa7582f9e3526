"""`rushes action`: one change to many jobs, its progress and its results."""

import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from cli.api import open_api
from cli.options import JsonOption, LimitOption
from cli.output import (
    note,
    print_answer,
    print_facts,
    print_json,
    print_line,
    print_list,
    print_table,
    show_moment,
    show_money,
    show_text,
)
from rushes_client.connection import Connection
from stack.errors import BAD_INPUT, INTERRUPTED, CommandError

REFRESH_SECONDS = 0.3
SHOWN_ITEMS = 10
DONE = {
    "retry": "retried",
    "cancel": "cancelled, or asked to be",
    "priority": "given the new priority",
    "pause": "paused",
    "resume": "resumed",
    "recheck": "probed again",
    "delete": "removed",
}

app = typer.Typer(help="Actions: one change to many jobs.", no_args_is_help=True)
ActionArgument = Annotated[str, typer.Argument(metavar="ACTION", help="Id of an action.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for a confirmation.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only show the number of jobs and their cost.")]


@app.command("list")
def list_actions(limit: LimitOption = 20, as_json: JsonOption = False) -> None:
    """List actions, newest first.

    Example:

        rushes action list
    """
    with open_api() as client:
        actions = list(client.list_items("actions", limit=limit))
    rows = (
        (
            each["id"],
            each["kind"],
            each["state"],
            f"{each['changed'] + each['refused']:,}/{each['matched']:,}",
            each["requested_by"],
            show_moment(each["created_at"]),
            show_text(_describe_filter(each)),
        )
        for each in actions
    )
    columns = ("ACTION", "KIND", "STATE", "DONE", "BY", "REQUESTED", "FILTER")
    print_list(actions, columns, rows, nothing="there is no action yet", as_json=as_json)


@app.command("show")
def show(action: ActionArgument, as_json: JsonOption = False) -> None:
    """Show an action: its filter, its progress, and the jobs that it could not change.

    Example:

        rushes action show 019a2b3c-4d5e-7f60-8123-456789abcdef
    """
    with open_api() as client:
        found = client.get("actions", action)
        refused = list(client.list_items("actions", action, "items", limit=SHOWN_ITEMS, outcome="refused"))
    if as_json:
        print_json({**found, "items_refused": refused})
        return
    print_facts(
        {
            "action": found["id"],
            "kind": found["kind"],
            "state": found["state"],
            "filter": _describe_filter(found),
            "with": ", ".join(f"{name}={value}" for name, value in found["arguments"].items()),
            "by": found["requested_by"],
            "requested": show_moment(found["created_at"]),
            "ended": show_moment(found["ended_at"]),
            "matched": f"{found['matched']:,} ({show_money(found['cost'])} for one render of each)",
            "changed": f"{found['changed']:,}",
            "refused": f"{found['refused']:,}" if found["refused"] else "",
            "aborted": found["problem"],
        }
    )
    if refused:
        print_table(("JOB", "WHY IT WAS REFUSED"), ((each["job_id"], each["message"]) for each in refused))


@app.command("abort")
def abort(action: ActionArgument, as_json: JsonOption = False) -> None:
    """Stop an action that runs. The jobs that it has changed stay changed.

    Example:

        rushes action abort 019a2b3c-4d5e-7f60-8123-456789abcdef
    """
    with open_api() as client:
        answer = client.post("actions", action, "abort")
    print_answer(answer, f"action {action} is {answer['state']}: {_count(answer)}", as_json=as_json)


def change_jobs(
    kind: str,
    chosen: dict[str, Any],
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    arguments: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Request an action: show count and cost, ask on a terminal, wait for its end, print the result and return it."""
    # An empty name stays, so that the API refuses it. Without it, the action would reach every batch.
    given = {name: value for name, value in chosen.items() if value is not None and value != []}
    body = {"kind": kind, "filter": given, **(arguments or {})}
    with open_api() as client:
        found = client.post("actions", body={**body, "dry_run": True})
        line = f"{kind}: {found['matched']:,} job{'' if found['matched'] == 1 else 's'}"
        line += f", {show_money(found['cost'])} for one render of each"
        if "input" in body:
            line += " at the price of its present input, which the new values may change"
        if dry_run or not found["matched"]:
            print_answer(found, line, as_json=as_json)
            return found
        if not yes and sys.stdin.isatty() and not typer.confirm(f"{line}. Go on?", err=True):
            raise CommandError("not confirmed: nothing was changed", exit_code=BAD_INPUT)
        action = _wait(client, client.post("actions", body=body))
    if as_json:
        print_json(action)
    else:
        print_line(_count(action))
        if action["refused"]:
            note(f"hint: `rushes action show {action['id']}` shows why")
    if action["state"] == "aborted":
        raise CommandError(f"the action was aborted: {action['problem']}", hint="jobs that it has changed stay changed")
    return action


def _wait(client: Connection, action: dict[str, Any]) -> dict[str, Any]:
    try:
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
            bar = progress.add_task(action["kind"], total=action["matched"])
            while action["state"] == "running":
                time.sleep(REFRESH_SECONDS)
                action = client.get("actions", action["id"])
                progress.update(bar, completed=action["changed"] + action["refused"])
    except KeyboardInterrupt:
        hint = f"the action goes on; `rushes action abort {action['id']}` stops it"
        raise CommandError("interrupted", hint=hint, exit_code=INTERRUPTED) from None
    return action


def _count(action: dict[str, Any]) -> str:
    refused = f", {action['refused']:,} refused" if action["refused"] else ""
    left = action["matched"] - action["changed"] - action["refused"]
    gone = f", {left:,} no longer matching" if action["state"] == "done" and left > 0 else ""
    return f"{action['changed']:,} of {action['matched']:,} jobs {DONE[action['kind']]}{refused}{gone}"


def _describe_filter(action: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in action["filter"].items())
