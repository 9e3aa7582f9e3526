"""All commands, one function each. Errors, exit codes and output have one shape."""

from importlib import metadata
from typing import Annotated

import typer

from cli.commands import account, action, batch_actions, callback, endpoint, job, key, prediction, tenant, unconfirmed
from cli.commands.audit import audit
from cli.commands.audit_log import audit_log
from cli.commands.catalog import catalog
from cli.commands.chaos import chaos
from cli.commands.demo import demo
from cli.commands.doctor import doctor
from cli.commands.failures import failures
from cli.commands.prune import prune
from cli.commands.submit import estimate, submit
from cli.commands.up import up
from cli.errors import run_guarded
from cli.output import print_line

app = typer.Typer(
    name="rushes",
    help="A render queue for LTX-2 videos: push prompts, get files, pay once.",
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def _start(
    *, version: Annotated[bool, typer.Option("--version", is_eager=True, help="Show the version and exit.")] = False
) -> None:
    if version:
        print_line(f"rushes {metadata.version('rushes')}")
        raise typer.Exit


app.command()(submit)
app.command()(estimate)
app.add_typer(batch_actions.app, name="batch")
app.add_typer(job.app, name="job")
app.add_typer(action.app, name="action")
app.command()(failures)
app.add_typer(unconfirmed.app, name="unconfirmed")
app.add_typer(prediction.app, name="prediction")
app.add_typer(account.app, name="account")
app.add_typer(endpoint.app, name="endpoint")
app.add_typer(callback.app, name="callback")
app.add_typer(tenant.app, name="tenant")
app.add_typer(key.app, name="key")
app.command()(catalog)
app.command()(up)
app.command()(demo)
app.command()(doctor)
app.command()(audit)
app.command("audit-log")(audit_log)
app.command()(prune)
app.command()(chaos)


def main(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    command = typer.main.get_command(app)
    return run_guarded(lambda: command.main(args=arguments, prog_name="rushes", standalone_mode=False))
