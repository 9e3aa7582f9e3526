"""`rushes endpoint`: where callbacks go. `create` and `rotate` print the new secret alone on stdout."""

from typing import Annotated

import typer

from cli.api import open_api
from cli.options import JsonOption
from cli.output import note, print_answer, print_json, print_line, print_list, show_moment, show_text
from cli.prompt_file.options import read_length
from rushes_client.connection import Connection, Json
from stack.errors import BAD_INPUT, CommandError

app = typer.Typer(help="Endpoints: where callbacks go.", no_args_is_help=True)
EndpointArgument = Annotated[str, typer.Argument(metavar="ENDPOINT", help="Id or URL of an endpoint.")]


@app.command("create")
def create(
    *,
    url: Annotated[str, typer.Argument(help="Where callbacks are posted: a public https address.")],
    kinds: Annotated[
        str | None,
        typer.Option(metavar="KINDS", help="Kinds of events, such as job.*,batch.ended. Without it: every ending."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create an endpoint, and print its secret on stdout. The secret is shown only now.

    Examples:

        rushes endpoint create https://acme.example/hooks/rushes

        SECRET=$(rushes endpoint create https://acme.example/hooks --kinds 'job.*')
    """
    body = {"url": url} | ({"kinds": [each.strip() for each in kinds.split(",")]} if kinds is not None else {})
    with open_api() as client:
        _print_made(client.post("endpoints", body=body), as_json=as_json)


@app.command("list")
def list_endpoints(as_json: JsonOption = False) -> None:
    """List endpoints, oldest first, and how their receivers have answered lately.

    Example:

        rushes endpoint list
    """
    with open_api() as client:
        found = client.get("endpoints")["items"]
    columns = ("ENDPOINT", "TENANT", "STATE", "FAILURES", "SINCE", "KINDS", "URL")
    print_list(found, columns, map(_show_row, found), nothing="there is no endpoint yet", as_json=as_json)


@app.command("rotate")
def rotate(
    *,
    endpoint: EndpointArgument,
    overlap: Annotated[
        str, typer.Option(metavar="LENGTH", help="How long callbacks have a signature by the old secret too: 24h, 0s.")
    ] = "24h",
    as_json: JsonOption = False,
) -> None:
    """Make a new secret, and print it on stdout. The old one still signs during the overlap.

    While one runs, another rotation is refused, unless its overlap is 0s.

    Example:

        rushes endpoint rotate https://acme.example/hooks/rushes --overlap 1h
    """
    body = {"overlap": read_length(overlap, option="--overlap").total_seconds()}
    with open_api() as client:
        made = client.post("endpoints", find_endpoint_id(client, endpoint), "rotate", body=body)
    _print_made(made, as_json=as_json)


@app.command("enable")
def enable(endpoint: EndpointArgument, as_json: JsonOption = False) -> None:
    """Send callbacks again: those that are pending, and the events from now on.

    Example:

        rushes endpoint enable 019a2b3c-4d5e-7f60-8123-456789abcdf0
    """
    _switch(endpoint, "enable", as_json=as_json)


@app.command("disable")
def disable(endpoint: EndpointArgument, as_json: JsonOption = False) -> None:
    """Send no callbacks. Those that are pending are kept for three days.

    Example:

        rushes endpoint disable 019a2b3c-4d5e-7f60-8123-456789abcdf0
    """
    _switch(endpoint, "disable", as_json=as_json)


@app.command("delete")
def delete(endpoint: EndpointArgument, as_json: JsonOption = False) -> None:
    """Delete an endpoint and its callbacks.

    Example:

        rushes endpoint delete https://acme.example/hooks/rushes
    """
    with open_api() as client:
        answer = client.delete("endpoints", find_endpoint_id(client, endpoint))
    print_answer(answer, f"endpoint {answer['id']} is deleted", as_json=as_json)


def find_endpoint_id(client: Connection, words: str) -> str:
    """Return the id of the endpoint with this id or URL. Raises `CommandError` if there is none, or more than one."""
    found = [each for each in client.get("endpoints")["items"] if words in (each["id"], each["url"])]
    if len(found) == 1:
        return str(found[0]["id"])
    if not found:
        hint = "`rushes endpoint list` shows them"
        raise CommandError(f"there is no endpoint {words!r}", hint=hint, exit_code=BAD_INPUT)
    lines = "\n".join(["name one by its id:", *(str(each["id"]) for each in found)])
    raise CommandError(f"{len(found)} endpoints have this URL", hint=lines, exit_code=BAD_INPUT)


def _switch(endpoint: str, change: str, *, as_json: bool) -> None:
    with open_api() as client:
        answer = client.post("endpoints", find_endpoint_id(client, endpoint), change)
    print_answer(answer, f"endpoint {answer['id']} is {change}d", as_json=as_json)


def _show_row(endpoint: Json) -> tuple[object, ...]:
    state = endpoint["disabled_reason"] or ("failing" if endpoint["failures"] else "ok")
    state = f"disabled: {state}" if endpoint["disabled_at"] else state
    since = show_moment(endpoint["disabled_at"] or endpoint["failing_since"])
    names = endpoint["id"], endpoint["tenant"], state, endpoint["failures"], since
    return *names, ",".join(endpoint["kinds"]), show_text(endpoint["url"])


def _print_made(made: Json, *, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    print_line(made["secret"])
    note(f"endpoint {made['id']} gets {', '.join(made['kinds'])} at {show_text(made['url'])}")
    if made["old_secret_until"]:
        note(f"the old secret still signs until {show_moment(made['old_secret_until'])}")
    note(f"hint: keep the secret now, nobody can read it again; `rushes callback test {made['id']}` sends a test")
