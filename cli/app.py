"""All commands: one function each; errors, exit codes and output have one shape."""

import typer

from cli import accounts, batches, doubts, jobs, predictions
from cli.audit import audit
from cli.catalogue import catalog
from cli.chaos.command import chaos
from cli.demo import demo
from cli.doctor import doctor
from cli.failures import run_guarded
from cli.submit import estimate, submit
from cli.up import up

app = typer.Typer(
    name="rushes",
    help="A render queue for LTX-2 videos: push prompts, get files, pay once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command()(submit)
app.command()(estimate)
app.add_typer(batches.app, name="batch")
app.add_typer(jobs.app, name="job")
app.add_typer(doubts.app, name="doubt")
app.add_typer(predictions.app, name="prediction")
app.add_typer(accounts.app, name="account")
app.command()(catalog)
app.command()(up)
app.command()(demo)
app.command()(doctor)
app.command()(audit)
app.command()(chaos)


def main(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    command = typer.main.get_command(app)
    return run_guarded(lambda: command.main(args=arguments, prog_name="rushes", standalone_mode=False))
