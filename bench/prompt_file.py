"""A prompt file of a hundred thousand lines: seconds and peak memory of the commands that read it."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from bench.arena import ContestFailed
from bench.rushes_stack import open_stack
from bench.tables import Table
from rushes.settings import Settings

PROMPT_FILE = "prompt-file"
LINES, LINES_QUICK = 100_000, 10_000
ESTIMATE_SECONDS, ESTIMATE_MEGABYTES, SUBMIT_SECONDS = 10, 400, 40
_WORDS = "a lighthouse in a storm, seen from the sea, with gulls and a heavy swell, slow dolly shot"


class CommandCost(NamedTuple):
    """Time and peak memory of one command."""

    seconds: float
    megabytes: float


def measure_prompt_file(*, quick: bool, console: Console) -> list[Table]:
    """Price and push a file of JSON Lines to a separate stack without workers."""
    lines = LINES_QUICK if quick else LINES
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder, open_stack(workers=0) as stack:
        path = Path(folder, "prompts.jsonl")
        path.write_text("".join(f'{{"id": "S-{n}", "prompt": "{_WORDS}, take {n}"}}\n' for n in range(lines)))
        costs = {}
        for command, more in (("estimate", []), ("submit", ["--batch", "bench", "--yes"])):
            console.print(f"rushes {command} with {lines:,} lines ...")
            costs[command] = _run(command, str(path), "--model", "ltx-2-fast", *more, settings=stack.settings)
    return [make_prompt_file_table(costs, lines=lines)]


def make_prompt_file_table(costs: dict[str, CommandCost], *, lines: int) -> Table:
    """The measured figures next to those promised for `LINES` lines."""
    promised = {"estimate": (f"{ESTIMATE_SECONDS}", f"{ESTIMATE_MEGABYTES}"), "submit": (f"{SUBMIT_SECONDS}", "-")}
    rows = tuple(
        (f"rushes {name}", f"{cost.seconds:.1f}", promised[name][0], f"{cost.megabytes:,.0f}", promised[name][1])
        for name, cost in costs.items()
    )
    header = ("", "seconds", "promised", "peak MB", "promised")
    return Table(f"{PROMPT_FILE}: {lines:,} lines of JSON Lines; the promises are for {LINES:,}", header, rows)


def _run(*arguments: str, settings: Settings) -> CommandCost:
    """Run `rushes` in a separate process, whose peak memory can then be read. Raises `ContestFailed`."""
    command = [sys.executable, "-c", "from cli.main import run; run()", *arguments]
    environment = {"RUSHES_URL": settings.url, "RUSHES_DATA_DIR": str(settings.data_dir)}
    with tempfile.TemporaryFile("w+") as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)  # noqa: S603
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)  # `Popen` must not wait for it again
        if process.returncode:
            log.seek(0)
            raise ContestFailed(f"rushes {arguments[0]} ended with {process.returncode}: {log.read()[-2_000:]}")
    return CommandCost(seconds, used.ru_maxrss * 1_024 / 1e6)
