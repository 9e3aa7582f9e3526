"""`rushes submit` and `rushes estimate`: turn a prompt file into a batch, or price it."""

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.batch_download import prepare_folder
from cli.batch_export import download_batch
from cli.batch_progress import open_view, wait_for_batch
from cli.commands.batch import show_batch
from cli.options import FileArgument, JsonOption
from cli.output import note, print_facts, print_json, print_table, show_money
from cli.prompt_file.addresses import check_addresses
from cli.prompt_file.jobs import Fill, Prepared
from cli.prompt_file.options import Consent, gather, read_consent, read_deadline, read_fill, read_options
from cli.prompt_file.parse import ReadOptions
from cli.prompt_file.push import choose_name, explain_refusal, load_jobs, print_warnings, push_batch
from cli.prompt_file.records import PromptFile
from cli.prompt_file.summary import summarise
from rushes.settings import Settings, load_settings
from rushes_client.connection import PUSH_SECONDS, Connection
from rushes_client.errors import ClientError, Declined
from stack.errors import FAILED, INTERRUPTED, CommandError

BatchOption = Annotated[
    str | None, typer.Option("--batch", "-b", help="Name of the batch. If omitted: made from file and time.")
]
WaitOption = Annotated[bool, typer.Option("--wait", "-w", help="Show progress until all jobs have ended.")]
TakesOption = Annotated[int, typer.Option(min=1, max=100, help="Render each line this many times.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be pushed, and push nothing.")]
CheckOption = Annotated[
    bool, typer.Option("--check/--no-check", help="Whether addresses of images and videos are requested first.")
]
AgainOption = Annotated[bool, typer.Option("--again", help="Buy the jobs again if they were pushed before.")]
DownloadOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Wait, then fetch the videos through the API into DIR.")
]


@gather(fill=read_fill, options=read_options, deadline=read_deadline, consent=read_consent)
def submit(  # noqa: PLR0913 - typer wants a parameter per option
    file: FileArgument,
    *,
    fill: Fill,
    options: ReadOptions,
    deadline: str | None,
    consent: Consent,
    batch: BatchOption = None,
    takes: TakesOption = 1,
    dry_run: DryRunOption = False,
    again: AgainOption = False,
    check: CheckOption = True,
    wait: WaitOption = False,
    download: DownloadOption = None,
    as_json: JsonOption = False,
) -> int:
    """Push a prompt file as one batch: all of its jobs, or none. A second push of the same jobs buys nothing.

    Examples:

        rushes submit prompts.jsonl --batch pilot --model ltx-2-pro --duration 6 --wait

        rushes submit shots.csv --column prompt="Text" --takes 3 --max-cost 50 --download videos

        generate-prompts | rushes submit - --batch nightly --finish-in 2h --json

    Exit codes: 0 pushed (with --wait: all rendered), 1 a job failed, 2 bad input, 3 the API is away.
    """
    settings, name = load_settings(), choose_name(batch, file)
    prompts, prepared = _load(file, fill=fill, settings=settings, options=options, takes=takes)
    _note_all(check_addresses(prompts, prepared, partial(_forecast, settings, prepared)) if check else ())
    if dry_run:
        return _print_plan(name, prepared, as_json=as_json)
    consent.check(prepared, ask_above=settings.confirm_above)
    prepare_folder(download)
    with open_api(settings) as client:
        pushed = push_batch(client, name, file=prompts, prepared=prepared, finish_by=deadline, buys_again=again)
        if not (wait or download):
            return _print_pushed(pushed, as_json=as_json)
        return _see_through(client, pushed, settings=settings, download=download, as_json=as_json)


def _load(
    source: str, *, fill: Fill, settings: Settings, options: ReadOptions, takes: int
) -> tuple[PromptFile, Prepared]:
    prompts, prepared = load_jobs(source, fill=fill, settings=settings, options=options, takes=takes)
    _note_all(summarise(prompts, prepared))
    return prompts, prepared


def _forecast(settings: Settings, prepared: Prepared) -> tuple[float, float] | None:
    """Ask the API for the latest likely end of the first and of the last job, in seconds from now; None if unknown."""
    with suppress(ClientError), open_api(settings) as client:
        answer = client.post("estimate", body={"jobs": prepared.jobs, "forecast": True}, seconds=PUSH_SECONDS)
        if answer.get("time_left"):
            return answer["first_time_left"]["high_seconds"], answer["time_left"]["high_seconds"]
    return None


def _note_all(lines: Iterable[str]) -> None:
    for line in lines:
        note(line)


def _print_plan(name: str, prepared: Prepared, *, as_json: bool) -> int:
    files = prepared.files
    plan = {"batch": name, "jobs": len(prepared.jobs), "cost": f"{prepared.cost:.4f}"}
    if files.found:
        plan |= {"files": len(files.found), "file bytes": files.size}
    print_warnings({}, prepared)
    if as_json:
        print_json({**plan, "orders": prepared.jobs})
    else:
        print_facts({**plan, "cost": show_money(str(prepared.cost)), "pushed": "nothing: this is a dry run"})
    return 0


@gather(fill=read_fill, options=read_options)
def estimate(
    file: FileArgument, *, fill: Fill, options: ReadOptions, takes: TakesOption = 1, as_json: JsonOption = False
) -> None:
    """Price a prompt file. Nothing is stored and nothing is spent.

    Example:

        rushes estimate prompts.jsonl --model ltx-2-pro --duration 10
    """
    settings = load_settings()
    prompts, prepared = _load(file, fill=fill, settings=settings, options=options, takes=takes)
    with open_api(settings) as client:
        try:
            answer = client.post("estimate", body={"jobs": prepared.jobs}, seconds=PUSH_SECONDS)
        except Declined as declined:
            raise explain_refusal(declined, file=prompts, prepared=prepared) from declined
    print_warnings(answer, prepared)
    if as_json:
        print_json(answer)
        return
    print_facts({"jobs": f"{answer['jobs']:,}", "cost": show_money(answer["cost"])})
    rows = [(model, show_money(cost)) for model, cost in answer["cost_by_model"].items()]
    print_table(("MODEL", "COST"), rows)


def _print_pushed(pushed: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        print_json(pushed)
        return 0
    cost = f"{show_money(pushed['cost']['estimated'])} (estimated)"
    print_facts({"batch": pushed["name"], "id": pushed["id"], "jobs": f"{pushed['jobs']:,}", "cost": cost})
    note(f"hint: `rushes batch show {pushed['name']}` shows its progress")
    return 0


def _see_through(
    client: Connection, pushed: dict[str, Any], *, settings: Settings, download: Path | None, as_json: bool
) -> int:
    name = pushed["name"]
    note(f"batch {name} ({pushed['id']}): {pushed['jobs']:,} jobs, {show_money(pushed['cost']['estimated'])} estimated")
    try:
        with open_view() as view:
            ended = wait_for_batch(client, name, view=view)
        if download:
            download_batch(client, name, download)
    except KeyboardInterrupt:
        hint = f"the batch continues without this command; `rushes batch show {name} --watch` follows it"
        if download:
            hint += f", and `rushes batch download {name} {download}` fetches its videos"
        raise CommandError("interrupted", hint=hint, exit_code=INTERRUPTED) from None
    if as_json:
        print_json(ended)
    else:
        show_batch(client, ended, settings=settings)
    return 0 if ended["states"]["succeeded"] == ended["jobs"] else FAILED
