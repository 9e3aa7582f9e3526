"""`rushes submit` and `rushes estimate`: turn a prompt file into a batch, or price it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.api_client import PUSH_SECONDS, ApiClient, Declined
from cli.batch_download import download_files
from cli.batch_progress import open_view, wait_for_batch
from cli.commands.batch import show_batch
from cli.options import AudioOption, DurationOption, FileArgument, JsonOption, ModelOption
from cli.output import note, print_facts, print_json, print_table, show_money
from cli.prompt_file.jobs import Fill
from cli.prompt_file.push import choose_name, explain_refusal, load_jobs, print_warnings, push_batch, read_finish_by
from rushes.settings import Settings, load_settings
from stack.errors import FAILED, INTERRUPTED, CommandError

BatchOption = Annotated[
    str | None, typer.Option("--batch", "-b", help="Name of the batch. If omitted: made from file and time.")
]
PriorityOption = Annotated[int | None, typer.Option(help="Priority for lines that do not set it. Higher goes first.")]
AttemptsOption = Annotated[
    int | None, typer.Option(help="Maximum number of purchases per job, for lines that do not set it.")
]
FinishByOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Deadline with its time zone: 2026-01-01T12:00Z. The batch is marked at risk if it is likely to miss it.",
    ),
]
FinishInOption = Annotated[
    str | None, typer.Option(metavar="LENGTH", help="Deadline as a length from now: 2h, 90m, 1d12h.")
]
WaitOption = Annotated[bool, typer.Option("--wait", "-w", help="Show progress until all jobs have ended.")]
DownloadOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Wait, then fetch the videos through the API into DIR.")
]


def submit(  # noqa: PLR0913 - typer wants a parameter per option
    file: FileArgument,
    *,
    batch: BatchOption = None,
    model: ModelOption = None,
    duration: DurationOption = None,
    audio: AudioOption = None,
    priority: PriorityOption = None,
    max_attempts: AttemptsOption = None,
    finish_by: FinishByOption = None,
    finish_in: FinishInOption = None,
    wait: WaitOption = False,
    download: DownloadOption = None,
    as_json: JsonOption = False,
) -> int:
    """Push a prompt file as one batch: all of its jobs, or none. Problems are listed by line and field.

    Examples:

        rushes submit prompts.jsonl --batch pilot --model ltx-2-pro --duration 6 --wait

        rushes submit prompts.csv --model ltx-2-fast --no-audio

        rushes submit prompts.csv --finish-in 2h --wait

        generate-prompts | rushes submit - --batch nightly --json

    Exit codes: 0 pushed (with --wait: all rendered), 1 a job failed, 2 bad input, 3 the API is away.
    """
    settings = load_settings()
    finish_at = read_finish_by(finish_by, finish_in)
    fill = Fill(model=model, duration=duration, audio=audio, priority=priority, max_attempts=max_attempts)
    prompts, prepared = load_jobs(file, fill=fill, settings=settings)
    with ApiClient(settings.url) as client:
        pushed = push_batch(client, choose_name(batch, file), file=prompts, prepared=prepared, finish_by=finish_at)
        print_warnings(pushed, prepared)
        if not (wait or download):
            _print_pushed(pushed, as_json=as_json)
            return 0
        return _see_through(client, pushed, settings=settings, download=download, as_json=as_json)


def estimate(
    file: FileArgument,
    *,
    model: ModelOption = None,
    duration: DurationOption = None,
    audio: AudioOption = None,
    as_json: JsonOption = False,
) -> None:
    """Price a prompt file. Nothing is stored and nothing is spent.

    Example:

        rushes estimate prompts.jsonl --model ltx-2-pro --duration 10
    """
    settings = load_settings()
    prompts, prepared = load_jobs(file, fill=Fill(model=model, duration=duration, audio=audio), settings=settings)
    with ApiClient(settings.url) as client:
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


def _print_pushed(pushed: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(pushed)
        return
    cost = f"{show_money(pushed['cost']['estimated'])} (estimated)"
    print_facts({"batch": pushed["name"], "id": pushed["id"], "jobs": f"{pushed['jobs']:,}", "cost": cost})
    note(f"hint: `rushes batch show {pushed['name']}` shows its progress")


def _see_through(
    client: ApiClient, pushed: dict[str, Any], *, settings: Settings, download: Path | None, as_json: bool
) -> int:
    name = pushed["name"]
    note(f"batch {name} ({pushed['id']}): {pushed['jobs']:,} jobs, {show_money(pushed['cost']['estimated'])} estimated")
    try:
        with open_view() as view:
            ended = wait_for_batch(client, name, view=view)
        if download:
            download_files(client, name, folder=download)
    except KeyboardInterrupt:
        hint = f"the batch continues without this command; check again with `rushes batch show {name}`"
        raise CommandError("interrupted", hint=hint, exit_code=INTERRUPTED) from None
    if as_json:
        print_json(ended)
    else:
        show_batch(client, ended, settings=settings)
    return 0 if ended["states"]["succeeded"] == ended["jobs"] else FAILED
