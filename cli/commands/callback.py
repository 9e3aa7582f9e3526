"""`rushes callback`: what was sent to endpoints, and how they answered."""

from typing import Annotated

import typer

from cli.api import open_api
from cli.commands.endpoint import EndpointArgument, find_endpoint_id
from cli.options import JsonOption, LimitOption
from cli.output import print_answer, print_facts, print_json, print_list, show_moment, show_text
from rushes_client.connection import Json

ANSWER_SHOWN = 1_024

app = typer.Typer(help="Callbacks: what was sent to endpoints, and their answers.", no_args_is_help=True)
CallbackArgument = Annotated[str, typer.Argument(metavar="CALLBACK", help="Its id: the header `webhook-id`.")]


@app.command("list")
def list_callbacks(
    *,
    endpoint: Annotated[str | None, typer.Option("--endpoint", "-e", help="Only to this endpoint: id or URL.")] = None,
    job: Annotated[str | None, typer.Option(help="Only about this job: id or BATCH/NUMBER.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those that are pending, delivered or failed.")] = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List callbacks, newest first, with the answer to their last attempt.

    Examples:

        rushes callback list --state failed

        rushes callback list --job pilot/7
    """
    with open_api() as client:
        endpoint_id = find_endpoint_id(client, endpoint) if endpoint is not None else None
        found = list(client.list_items("deliveries", limit=limit, endpoint_id=endpoint_id, job=job, state=state))
    columns = ("CALLBACK", "KIND", "STATE", "ATTEMPTS", "ANSWER", "MS", "NEXT", "CREATED")
    print_list(found, columns, map(_show_row, found), nothing="no such callbacks", as_json=as_json)


@app.command("show")
def show(callback: CallbackArgument, as_json: JsonOption = False) -> None:
    """Show a callback: its attempts, and the first kilobyte of the last answer.

    Example:

        rushes callback show msg_5f1d9c0a7c0f4d3f9c1b2a3d4e5f6a7b
    """
    with open_api() as client:
        found = client.get("deliveries", callback)
    if as_json:
        print_json(found)
        return
    print_facts(
        {
            "callback": found["id"],
            "kind": found["kind"],
            "endpoint": found["endpoint_id"],
            "job": found["job_id"],
            "state": found["state"],
            "attempts": found["attempts"],
            "created": show_moment(found["created_at"]),
            "attempted": show_moment(found["attempted_at"]),
            "next": show_moment(found["next_attempt_at"]),
            "ended": show_moment(found["ended_at"]),
            "status": found["status"],
            "milliseconds": found["milliseconds"],
            "no answer": show_text(found["error"] or ""),
            "answer": show_text(found["answer"] or "", limit=ANSWER_SHOWN),
        }
    )


@app.command("resend")
def resend(callback: CallbackArgument, as_json: JsonOption = False) -> None:
    """Send a callback again at once, whatever became of it. Its retries start again.

    Example:

        rushes callback resend msg_5f1d9c0a7c0f4d3f9c1b2a3d4e5f6a7b
    """
    with open_api() as client:
        answer = client.post("deliveries", callback, "resend")
    print_answer(answer, f"callback {answer['id']} is sent again", as_json=as_json)


@app.command("test")
def send_test(endpoint: EndpointArgument, as_json: JsonOption = False) -> None:
    """Send a callback of the kind `endpoint.test` to an endpoint at once.

    Example:

        rushes callback test https://acme.example/hooks/rushes
    """
    with open_api() as client:
        answer = client.post("endpoints", find_endpoint_id(client, endpoint), "test")
    print_answer(answer, f"{answer['id']} is on its way: `rushes callback show` shows the answer", as_json=as_json)


def _show_row(callback: Json) -> tuple[object, ...]:
    answer = callback["status"] or show_text(callback["error"] or "", limit=40)
    times = show_moment(callback["next_attempt_at"]), show_moment(callback["created_at"])
    names = callback["id"], callback["kind"], callback["state"], callback["attempts"]
    return *names, answer, callback["milliseconds"], *times
