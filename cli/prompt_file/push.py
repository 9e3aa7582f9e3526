"""Send a prepared prompt file to the API: all of it or nothing, and never twice."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.api_client import PUSH_SECONDS, AnswerLost, ApiClient, Declined
from cli.output import name_for, note
from cli.prompt_file.jobs import Fill, Prepared, prepare_jobs
from cli.prompt_file.parse import STDIN, FileRefused, LineProblem, PromptFile, read_prompt_file
from rushes.errors import InvalidInput, Problem
from rushes.jobs.pushing import BATCH_NAME
from rushes.settings import Settings
from stack.errors import CommandError

_JOB_FIELD = re.compile(r"jobs\.(\d+)(?:\.(?:input\.)?(.+))?")


def load_jobs(source: str, *, fill: Fill, settings: Settings) -> tuple[PromptFile, Prepared]:
    """Read and check a file. Raises `FileRefused` with all problems before anything is sent."""
    file = read_prompt_file(source)
    return file, prepare_jobs(file, fill, max_jobs=settings.max_batch_jobs)


def choose_name(given: str | None, source: str, *, now: datetime | None = None) -> str:
    """Return the given batch name, or make one from file and time. Raises `InvalidInput` for an invalid name."""
    if given is None:
        return name_for("stdin" if source == STDIN else Path(source).stem, now=now or datetime.now(UTC))
    if not BATCH_NAME.fullmatch(given):
        message = "must be 1 to 64 letters, digits, dots, dashes or underscores, and begin with a letter or digit"
        raise InvalidInput([Problem("--batch", message)])
    return given


def push_batch(
    client: ApiClient, name: str, *, file: PromptFile, prepared: Prepared, finish_by: str | None = None
) -> dict[str, Any]:
    """Push the jobs as one batch and return it as the API shows it.

    If the answer is lost, search for the batch by its name instead of pushing it again.
    """
    try:
        body = {"name": name, "jobs": prepared.jobs} | ({"finish_by": finish_by} if finish_by else {})
        return client.post("batches", body=body, seconds=PUSH_SECONDS)
    except AnswerLost as lost:
        return _search_for(client, name, prepared=prepared, lost=lost)
    except Declined as declined:
        raise explain_refusal(declined, file=file, prepared=prepared) from declined


def explain_refusal(declined: Declined, *, file: PromptFile, prepared: Prepared) -> Exception:
    """Express the API's refusal in terms of the file's lines, if it is about lines."""
    if declined.status == 409:
        return CommandError(*declined.errors, hint="choose another name with --batch", exit_code=declined.exit_code)
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


def _search_for(client: ApiClient, name: str, *, prepared: Prepared, lost: AnswerLost) -> dict[str, Any]:
    try:
        batch = client.get("batches", name)
    except CommandError:
        hint = f"`rushes batch show {name}` shows whether it was stored; submit again only if it was not"
        raise CommandError(*lost.errors, hint=hint, exit_code=lost.exit_code) from lost
    if batch["jobs"] != len(prepared.jobs):
        hint = "choose another name with --batch"
        raise CommandError(f"a batch named {name!r} with other jobs exists already", hint=hint) from lost
    note("the answer was lost, but the batch is stored")
    return batch
