"""Add the jobs of a prompt file to an open batch piece by piece. Each piece is stored as a whole, and only once."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from time import sleep

from cli.output import note
from cli.prompt_file.jobs import Prepared
from rushes.jobs.pushing import JobOrder, check_order, digest_jobs
from rushes_client.client import Rushes, cut_pieces
from rushes_client.connection import Json
from rushes_client.errors import AnswerLost, ApiAway, Declined, FieldProblem
from stack.errors import CommandError, ServiceAway

PIECE_JOBS = 10_000
PAUSES_SECONDS = (1, 2, 4, 8, 15, 30)
"""How long to wait before a request whose answer was lost is repeated."""
_LINE = re.compile(r"lines\.(\d+)(.*)")


def ask_until_answered(ask: Callable[[], Json], *, repeat: str, has_begun: bool = False) -> Json:
    """Ask, and ask again if the answer may be lost. `ask` must be safe to repeat.

    With `has_begun`, an earlier request was carried out, so this one is repeated even if it was not sent.
    """
    pauses, is_lost = iter(PAUSES_SECONDS), has_begun
    while True:
        try:
            return ask()
        except ApiAway as error:
            is_lost = is_lost or isinstance(error, AnswerLost)
            pause = next(pauses, None)
            if not is_lost or pause is None:
                again = f"repeat the command with {repeat}" if repeat else "run the same command again"
                hint = f"{again}: if the batch was stored, nothing is bought twice"
                raise (ServiceAway(*error.errors, hint=hint) if is_lost else error) from error
            note(f"{error}; trying again in {pause} s, which buys nothing twice")
            sleep(pause)


def push_in_pieces(client: Rushes, body: Json, *, prepared: Prepared, once: str, repeat: str) -> Json:
    """Open a batch, add the jobs, seal it, and return it with the API's warnings.

    If the same jobs were pushed before, their batch is returned, with `repeated`. If they were pushed in part, the
    others are added: the number of stored jobs is where to go on.
    """
    opening = {**body, "digest": digest(prepared)}
    batch = ask_until_answered(lambda: client.post("batches", body=opening, once=once), repeat=repeat)
    name, total = batch["name"], len(prepared.jobs)
    if batch["state"] != "open":
        if batch["jobs"] < total:
            message = f"this file was pushed as {name}, which was closed with {batch['jobs']:,} of {total:,} jobs"
            raise CommandError(message, hint="--again with another --batch buys all of them")
        return batch
    if batch["jobs"]:
        note(f"batch {name} has {batch['jobs']:,} of these {total:,} jobs: going on with the others")
    warnings: Counter[str] = Counter()
    for added in add_pieces(client, batch, prepared, start=batch["jobs"], repeat=repeat):
        warnings.update({each["message"]: each["jobs"] for each in added["warnings"]})
    sealed = ask_until_answered(lambda: client.post("batches", batch["id"], "seal"), repeat=repeat, has_begun=True)
    return {**sealed, "warnings": [{"message": text, "jobs": jobs} for text, jobs in warnings.items()]}


def digest(prepared: Prepared) -> str:
    """Return the digest that the API makes of the jobs if they are pushed as a whole."""
    return digest_jobs(check_order(JobOrder.model_validate(job))[0] for job in prepared.jobs)


def add_pieces(client: Rushes, batch: Json, prepared: Prepared, *, start: int, repeat: str) -> Iterator[Json]:
    """Add the jobs from `start` on, and yield the API's answer for each piece."""
    total = len(prepared.jobs)
    for piece in cut_pieces(prepared.jobs, start=start, size=PIECE_JOBS):
        send = partial(client.send_lines, batch["id"], piece.lines, first=piece.first)
        try:
            yield ask_until_answered(send, repeat=repeat, has_begun=True)
        except Declined as declined:
            note(f"batch {batch['name']} keeps what was added before; `rushes batch cancel {batch['name']}` cancels it")
            raise _name_jobs(declined, piece.first) from declined
        if total > PIECE_JOBS:
            note(f"added {piece.last:,} of {total:,} jobs to {batch['name']}")


def _name_jobs(declined: Declined, first: int) -> Declined:
    """Return a refusal of lines as one of jobs, as if they had been pushed in one body."""
    found = [(_LINE.fullmatch(each.field), each.message) for each in declined.problems]
    problems = [FieldProblem(f"jobs.{first + int(line[1]) - 2}{line[2]}", message) for line, message in found if line]
    return Declined(declined.status, str(declined), problems=problems) if problems else declined
