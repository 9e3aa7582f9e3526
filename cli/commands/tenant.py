"""`rushes tenant`: who owns jobs and batches."""

from typing import Annotated

import typer

from cli.api import open_api
from cli.options import JsonOption
from cli.output import print_answer, print_list, show_moment

app = typer.Typer(help="Tenants: owners of jobs and batches, each with keys of its own.", no_args_is_help=True)
TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Name of a tenant.")]


@app.command("create")
def create(tenant: TenantArgument, as_json: JsonOption = False) -> None:
    """Create a tenant. Its name is also the name of its folder of videos.

    Example:

        rushes tenant create acme
    """
    with open_api() as client:
        answer = client.post("tenants", body={"name": tenant})
    print_answer(answer, f"tenant {tenant} is created", as_json=as_json)


@app.command("list")
def list_tenants(as_json: JsonOption = False) -> None:
    """List tenants, oldest first.

    Example:

        rushes tenant list
    """
    with open_api() as client:
        tenants = client.get("tenants")["items"]
    columns = ("TENANT", "CREATED", "DISABLED")
    rows = ((each["name"], show_moment(each["created_at"]), show_moment(each["disabled_at"])) for each in tenants)
    print_list(tenants, columns, rows, nothing="there is no tenant", as_json=as_json)


@app.command("disable")
def disable(tenant: TenantArgument, as_json: JsonOption = False) -> None:
    """Refuse a tenant's keys, within two seconds. Its jobs go on.

    Example:

        rushes tenant disable acme
    """
    with open_api() as client:
        answer = client.post("tenants", tenant, "disable")
    print_answer(answer, f"tenant {tenant} is disabled: its keys are refused", as_json=as_json)


@app.command("enable")
def enable(tenant: TenantArgument, as_json: JsonOption = False) -> None:
    """Accept a tenant's keys again.

    Example:

        rushes tenant enable acme
    """
    with open_api() as client:
        answer = client.post("tenants", tenant, "enable")
    print_answer(answer, f"tenant {tenant} is enabled: its keys are accepted", as_json=as_json)
