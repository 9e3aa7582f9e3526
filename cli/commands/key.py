"""`rushes key`: keys of the API. `create`, `rotate` and `bootstrap` print a new key alone on stdout."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.api import open_api
from cli.options import JsonOption
from cli.output import note, print_answer, print_facts, print_json, print_line, print_list, show_moment, show_text
from cli.prompt_file.options import read_length
from models.tables.access import DEFAULT_TENANT_NAME
from rushes.access.keys import hint_at, is_well_formed
from rushes_client.connection import Connection, Json
from stack.errors import BAD_INPUT, CommandError

_OVER = ("expired", "revoked")

app = typer.Typer(help="Keys of the API.", no_args_is_help=True)
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Id, hint or name of a key.")]
TenantOption = Annotated[str | None, typer.Option("--tenant", "-t", help="Only keys of this tenant.")]
ExpiresOption = Annotated[
    str | None, typer.Option("--expires", metavar="LENGTH", help="Let the new key expire after 90d, 12h.")
]


@app.command("create")
def create(
    *,
    name: Annotated[str, typer.Argument(help="Name of the key, for people.")],
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Whose key it is.")] = DEFAULT_TENANT_NAME,
    scope: Annotated[
        str, typer.Option(metavar="SCOPES", help="What it allows: push, read, observe, operate, admin.")
    ] = "push,read",
    expires: ExpiresOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key, and print it on stdout. It is stored nowhere and shown only now.

    Examples:

        rushes key create nightly --tenant acme --scope push,read --expires 90d

        KEY=$(rushes key create monitoring --scope observe)
    """
    scopes = [each.strip() for each in scope.split(",")]
    body = {"tenant": tenant, "name": name, "scopes": scopes, "expires_at": _read_expiry(expires)}
    with open_api() as client:
        _print_made(client.post("keys", body=body), as_json=as_json)


@app.command("list")
def list_keys(
    *,
    tenant: TenantOption = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that are expired or revoked.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List keys, oldest first.

    Example:

        rushes key list --tenant acme
    """
    with open_api() as client:
        keys = [each for each in client.get("keys", tenant=tenant)["items"] if every or each["status"] not in _OVER]
    columns = ("ID", "TENANT", "HINT", "STATUS", "EXPIRES", "LAST USED", "SCOPES", "NAME")
    print_list(keys, columns, map(_show_row, keys), nothing="no such keys", as_json=as_json)


@app.command("rotate")
def rotate(
    *,
    key: KeyArgument,
    tenant: TenantOption = None,
    overlap: Annotated[str, typer.Option(metavar="LENGTH", help="How long the old key still works: 24h, 0s.")] = "24h",
    expires: ExpiresOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key with the same tenant, name and scopes, and print it on stdout. The old one expires after the overlap.

    Without --expires, the new key is valid for as long as the old one was to be.

    Examples:

        rushes key rotate nightly --tenant acme --expires 90d

        rushes key rotate rsh_live_7Qk2...x9Lf --overlap 1h
    """
    seconds = read_length(overlap, option="--overlap").total_seconds()
    body = {"overlap": seconds, "expires_at": _read_expiry(expires)}
    with open_api() as client:
        made = client.post("keys", _find_id(client, key, tenant), "rotate", body=body)
    _print_made(made, as_json=as_json)


@app.command("revoke")
def revoke(*, key: KeyArgument, tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """Refuse a key, within two seconds. This cannot be undone.

    Example:

        rushes key revoke nightly --tenant acme
    """
    with open_api() as client:
        answer = client.post("keys", _find_id(client, key, tenant), "revoke")
    print_answer(answer, f"key {answer['hint']} of tenant {answer['tenant']} is revoked", as_json=as_json)


@app.command("current")
def current(as_json: JsonOption = False) -> None:
    """Show whose key these commands use: RUSHES_API_KEY, or the key of `rushes up`.

    Example:

        rushes key current
    """
    with open_api() as client:
        me = client.get("me")
    if as_json:
        print_json(me)
        return
    print_facts({"tenant": me["tenant"], "name": me["name"], "scopes": ", ".join(me["scopes"]), "id": me["key_id"]})


@app.command("bootstrap")
def bootstrap(
    *,
    force: Annotated[bool, typer.Option("--force", help="Although a usable key has the scope admin.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the first key, with every scope, for the tenant `default`. It works on the database, without the API.

    Example:

        RUSHES_API_KEY=$(rushes key bootstrap)
    """
    from cli.commands.key_bootstrap import make_first_key  # noqa: PLC0415 - its libraries would slow down every other command

    _print_made(make_first_key(force=force), as_json=as_json)


def _read_expiry(expires: str | None) -> str | None:
    return (datetime.now(UTC) + read_length(expires, option="--expires")).isoformat() if expires else None


def _find_id(client: Connection, words: str, tenant: str | None) -> str:
    """Return the id of the key that a person means. Raises `CommandError` if there is none, or more than one."""
    words = hint_at(words) if is_well_formed(words) else words  # so that no message repeats the key
    keys = client.get("keys", tenant=tenant)["items"]
    found = [each for each in keys if words in (each["id"], each["hint"])]
    found = found or [each for each in keys if each["name"] == words and each["status"] not in _OVER]
    if len(found) == 1:
        return str(found[0]["id"])
    if not found:
        raise CommandError(
            f"there is no usable key {words!r}", hint="`rushes key list` shows them", exit_code=BAD_INPUT
        )
    lines = [f"{each['id']}  {each['hint']}  {each['tenant']}/{show_text(each['name'])}" for each in found]
    raise CommandError(
        f"{len(found)} usable keys are named {words!r}",
        hint="\n".join(["name one by its id:", *lines]),
        exit_code=BAD_INPUT,
    )


def _show_row(key: Json) -> tuple[object, ...]:
    times = (show_moment(key["expires_at"]) or "never", show_moment(key["last_used_at"]) or "never")
    names = (key["id"], key["tenant"], key["hint"], key["status"])
    return *names, *times, ",".join(key["scopes"]), show_text(key["name"])


def _print_made(made: Json, *, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    print_line(made["key"])
    until = f"until {show_moment(made['expires_at'])}" if made["expires_at"] else "for ever"
    note(f"{made['tenant']}/{show_text(made['name'])} may {', '.join(made['scopes'])} with this key, {until}")
    if made["old_expires_at"]:
        note(f"the old key works until {show_moment(made['old_expires_at'])}")
    note("hint: keep the key now, it is stored nowhere; commands take it from RUSHES_API_KEY")
