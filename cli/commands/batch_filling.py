"""`rushes batch create|add|seal`: a batch that is filled by several commands."""

from typing import Annotated

import typer

from cli.api import open_api
from cli.commands import batch_actions
from cli.commands.batch import NameArgument
from cli.options import FileArgument, JsonOption
from cli.output import note, print_answer
from cli.pieces import add_pieces, ask_until_answered, digest
from cli.prompt_file.jobs import Fill
from cli.prompt_file.options import Consent, gather, read_consent, read_deadline, read_fill, read_options
from cli.prompt_file.parse import ReadOptions
from cli.prompt_file.push import choose_name, explain_refusal, load_jobs, print_warnings
from rushes.settings import load_settings
from rushes_client.connection import make_once
from rushes_client.errors import Declined

app = batch_actions.app


@app.command("create")
@gather(deadline=read_deadline)
def create(
    name: Annotated[str, typer.Argument(metavar="BATCH", help="Name of the new batch.")],
    *,
    deadline: str | None,
    as_json: JsonOption = False,
) -> None:
    """Open a batch without jobs. It takes jobs until it is sealed, and renders those that it has.

    Example:

        rushes batch create night --finish-in 8h
    """
    body = {"name": choose_name(name, ""), **({"finish_by": deadline} if deadline else {})}
    once = make_once()
    with open_api() as client:
        opened = ask_until_answered(lambda: client.post("batches", body=body, once=once), repeat="")
    print_answer(opened, f"batch {name} is open; `rushes batch add {name} FILE` adds jobs", as_json=as_json)


@app.command("add")
@gather(fill=read_fill, options=read_options, consent=read_consent)
def add(
    batch: NameArgument,
    file: FileArgument,
    *,
    fill: Fill,
    options: ReadOptions,
    consent: Consent,
    as_json: JsonOption = False,
) -> None:
    """Add the jobs of a prompt file to an open batch. The same file is added only once.

    Example:

        rushes batch add night shots.csv --model ltx-2-pro
    """
    settings = load_settings()
    prompts, prepared = load_jobs(file, fill=fill, settings=settings, options=options)
    consent.check(prepared, ask_above=settings.confirm_above)
    with open_api(settings) as client:
        found = client.get("batches", batch)
        prepared.files.send(client)
        try:
            pieces = list(add_pieces(client, found, prepared, source=digest(prepared)))
        except Declined as declined:
            raise explain_refusal(declined, file=prompts, prepared=prepared) from declined
    print_warnings(pieces[-1], prepared)
    if pieces[-1]["first_number"] <= found["jobs"]:
        note("this file was added before: nothing is bought")
    print_answer(pieces[-1], f"batch {batch} has {pieces[-1]['jobs']:,} jobs", as_json=as_json)


@app.command("seal")
def seal(batch: NameArgument, as_json: JsonOption = False) -> None:
    """Let an open batch take no more jobs. It ends once all of its jobs have.

    Example:

        rushes batch seal night
    """
    with open_api() as client:
        sealed = client.post("batches", batch, "seal")
    print_answer(sealed, f"batch {batch} is sealed with {sealed['jobs']:,} jobs", as_json=as_json)
