"""`rushes audit-log`: what operators and admins did."""

import json
from typing import Annotated

import typer

from cli.api import open_api
from cli.choosing import read_moment
from cli.options import JsonOption, LimitOption
from cli.output import print_list, show_moment, show_text
from rushes_client.connection import Json


def audit_log(
    *,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only since then: an age such as 1h, or a time.")
    ] = None,
    action: Annotated[str | None, typer.Option(help="Only actions that begin so: account, key.revoke.")] = None,
    target: Annotated[str | None, typer.Option(help="Only what was done to this: an id, or a name.")] = None,
    key_id: Annotated[str | None, typer.Option("--key", metavar="ID", help="Only what this key did.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List what was done by keys that reach every tenant, newest first: who, what, before and after.

    Examples:

        rushes audit-log --since 1h

        rushes audit-log --action account --json
    """
    moment = read_moment(since, option="--since") if since else None
    with open_api() as client:
        chosen = {"since": moment, "action": action, "target": target, "key_id": key_id}
        entries = list(client.list_items("audit-log", limit=limit, **chosen))
    rows = (
        (show_moment(each["at"]), show_text(each["by"]), each["action"], show_text(each["target"]), _show_change(each))
        for each in entries
    )
    print_list(entries, ("AT", "BY", "ACTION", "TARGET", "CHANGE"), rows, nothing="no such entries", as_json=as_json)


def _show_change(entry: Json) -> str:
    """`state: failed > queued`: the values that changed; without values before, those that were given."""
    before, after = entry["before"] or {}, entry["after"] or {}
    changes = [
        f"{name}: {_show(before[name])} > {_show(value)}" if name in before else f"{name}: {_show(value)}"
        for name, value in after.items()
        if name not in before or before[name] != value
    ]
    return show_text(", ".join(changes), limit=200)


def _show(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
