"""Name a prepared prompt file, set its deadline and send it to the API: all of it or nothing, and never twice."""

import re
from datetime import UTC, datetime, timedelta
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

_LENGTH = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?")
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


def read_finish_by(finish_by: str | None, finish_in: str | None, *, now: datetime | None = None) -> str | None:
    """Return the time for the API; None if neither is given. Raises `InvalidInput`, which names the option."""
    if finish_by is not None and finish_in is not None:
        raise InvalidInput([Problem("--finish-in", "cannot be given together with --finish-by")])
    if finish_in is not None:
        return _spell((now or datetime.now(UTC)) + read_length(finish_in, option="--finish-in"))
    return None if finish_by is None else _spell(_read_time(finish_by))


def _read_time(words: str) -> datetime:
    try:
        at = datetime.fromisoformat(words)
    except ValueError:
        raise InvalidInput(
            [Problem("--finish-by", f"must be a time such as 2026-01-01T12:00Z, not {words!r}")]
        ) from None
    if at.tzinfo is None:
        message = f"must name its time zone, such as {words}Z or {words}+01:00"
        raise InvalidInput([Problem("--finish-by", message)])
    return at


def read_length(words: str, *, option: str) -> timedelta:
    """Return a length such as `1d12h`. Raises `InvalidInput`, which names the option."""
    found = _LENGTH.fullmatch(words.replace(" ", ""))
    if not found or not any(found.groups()):
        raise InvalidInput([Problem(option, f"must be a length such as 2h, 90m or 1d12h, not {words!r}")])
    days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _spell(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


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
