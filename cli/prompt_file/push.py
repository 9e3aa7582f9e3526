"""Send a prepared prompt file to the API: all of it or nothing, and never twice."""

import re
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer

from cli.output import name_for, note, print_errors, show_seconds
from cli.pieces import ask_until_answered, push_in_pieces
from cli.prompt_file.jobs import Fill, Prepared, prepare_jobs
from cli.prompt_file.parse import STDIN, ReadOptions, read_prompt_file
from cli.prompt_file.records import FileRefused, HeaderMissing, LineProblem, PromptFile
from rushes.errors import InvalidInput, Problem
from rushes.jobs.pushing import BATCH_NAME
from rushes.settings import Settings
from rushes_client.client import Rushes
from rushes_client.connection import PUSH_SECONDS, make_once
from rushes_client.errors import ClientError, Declined
from stack.errors import BAD_INPUT, INTERRUPTED, CommandError

CLOCK_ALLOWANCE = timedelta(minutes=5)
"""How far this machine's clock may differ from the database's."""
PIECES_ABOVE = 5_000
"""A file with more jobs is not sent as one body: both sides would hold all of it in memory."""
_JOB_FIELD = re.compile(r"jobs\.(\d+)(?:\.(?:input\.)?(.+))?")


def load_jobs(
    source: str, *, fill: Fill, settings: Settings, options: ReadOptions | None = None, takes: int = 1
) -> tuple[PromptFile, Prepared]:
    """Read and check a file. Raises `FileRefused` with all problems before anything is sent.

    On a terminal, a table without a header is read after a person has said so.
    """
    options = options or ReadOptions()
    try:
        file = read_prompt_file(source, options)
    except HeaderMissing as error:
        if not can_ask():
            raise
        print_errors(error.lines())
        if not typer.confirm("Is that line a prompt, so that the file has no header?", err=True):
            raise
        file = read_prompt_file(source, replace(options, has_header=False))
    return file, prepare_jobs(file, fill, max_jobs=settings.max_batch_jobs, takes=takes)


def can_ask() -> bool:
    """Return whether a person can answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def choose_name(given: str | None, source: str, *, now: datetime | None = None) -> str:
    """Return the given batch name, or make one from file and time. Raises `InvalidInput` for an invalid name."""
    if given is None:
        return name_for("stdin" if source == STDIN else Path(source).stem, now=now or datetime.now(UTC))
    if not BATCH_NAME.fullmatch(given):
        message = "must be 1 to 64 letters, digits, dots, dashes or underscores, and begin with a letter or digit"
        raise InvalidInput([Problem("--batch", message)])
    return given


def push_batch(
    client: Rushes,
    name: str,
    *,
    file: PromptFile,
    prepared: Prepared,
    finish_by: str | None = None,
    buys_again: bool = False,
) -> dict[str, Any]:
    """Push the jobs as one batch and return it as the API shows it. Prints warnings. Many jobs are sent in pieces.

    If these jobs were pushed before, return their batch: with `buys_again`, only if it has this name. So a push whose
    answer is lost is repeated without buying anything twice.
    """
    body = {"name": name, "on_repeat": "same_name" if buys_again else "same_jobs"}
    body |= {"finish_by": finish_by} if finish_by else {}
    prepared.files.send(client)
    note(f"pushing {len(prepared.jobs):,} job{'' if len(prepared.jobs) == 1 else 's'} as {name} ...")
    began_at, once, repeat = datetime.now(UTC), make_once(), f"--batch {name} --again" if buys_again else ""
    try:
        if len(prepared.jobs) > PIECES_ABOVE:
            pushed = push_in_pieces(client, body, prepared=prepared, once=once, repeat=repeat)
        else:
            whole = {**body, "jobs": prepared.jobs}
            pushed = ask_until_answered(
                lambda: client.post("batches", body=whole, seconds=PUSH_SECONDS, once=once), repeat=repeat
            )
    except Declined as declined:
        raise explain_refusal(declined, file=file, prepared=prepared) from declined
    except KeyboardInterrupt:
        raise _explain_interrupt(client, name, began_at=began_at) from None
    print_warnings(pushed, prepared)
    if pushed.get("repeated"):
        age = show_seconds((datetime.now(UTC) - datetime.fromisoformat(pushed["created_at"])).total_seconds())
        stored = f"{pushed['states']['succeeded']:,} of {pushed['jobs']:,} stored"
        note(f"this file was pushed as {pushed['name']} {age} ago ({stored}): nothing is bought; --again buys it again")
    return pushed


def _explain_interrupt(client: Rushes, name: str, *, began_at: datetime) -> CommandError:
    hint = f"`rushes batch show {name}` shows whether the batch is stored"
    with suppress(ClientError, KeyboardInterrupt):
        batch = client.get("batches", name)
        if batch.get("state") == "open":
            hint = f"batch {name} has {batch['jobs']:,} of the jobs; the same command again adds the others"
        elif datetime.fromisoformat(batch["created_at"]) > began_at - CLOCK_ALLOWANCE:
            hint = f"batch {name} is stored with {batch['jobs']:,} jobs; `rushes batch show {name}` follows it"
    return CommandError("interrupted", hint=hint, exit_code=INTERRUPTED)


def explain_refusal(declined: Declined, *, file: PromptFile, prepared: Prepared) -> Exception:
    """Express the API's refusal in terms of the file's lines, if it is about lines."""
    if declined.status == 409 and "exists already" in str(declined):
        return CommandError(*declined.errors, hint="choose another name with --batch", exit_code=BAD_INPUT)
    problems = []
    for problem in declined.problems:
        found = _JOB_FIELD.fullmatch(problem.field)
        if not found or int(found[1]) >= len(prepared.numbers):
            return declined
        problems.append(LineProblem(prepared.numbers[int(found[1])], Problem(found[2] or "", problem.message)))
    return FileRefused(file.name, problems) if problems else declined


def print_warnings(answer: dict[str, Any], prepared: Prepared) -> None:
    """Print the warnings of the API and of this side on stderr, each once."""
    warnings = {each["message"]: int(each["jobs"]) for each in answer.get("warnings") or []}
    for message, jobs in prepared.warnings.items():
        warnings.setdefault(message, 0 if message.startswith("--") else jobs)
    for message, jobs in warnings.items():
        note(f"warning: {message}" + (f" ({jobs:,} job{'' if jobs == 1 else 's'})" if jobs else ""))
