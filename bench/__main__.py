"""`python -m bench`: measure, and print the figures with a description of the machine."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as RichTable

from bench.actions import ACTIONS, measure_actions
from bench.bulk import BULK, measure_bulk
from bench.callbacks import CALLBACKS, measure_callbacks
from bench.contestants import PLAYERS
from bench.history import HISTORY, measure_history
from bench.loads import CONTESTANTS, LOADS, PUSHING, SETS, SINGLE_POLLS, Load, Overflow, list_names, quicken
from bench.machine import describe_machine
from bench.page import write_docs
from bench.prompt_file import PROMPT_FILE, measure_prompt_file
from bench.results import Book, group, write_book
from bench.session import PUSHED_JOBS, PUSHED_JOBS_QUICK, SessionPlan, Wanted, estimate_seconds, make_plan, measure
from bench.single_polls import make_polls_tables
from bench.single_pushes import CONNECTIONS, PUSH, measure_single_pushes
from bench.streams import LISTENERS, STREAMS, measure_streams
from bench.tables import Table, make_pushing_table, make_table
from bench.watching import SEEDS
from stack.errors import CommandError

TALK = Console(stderr=True, width=120)
OUT = Console(width=120)


def _list_choices() -> str:
    loads = "\n\n".join(f"{load.name}: {load.about}" for load in LOADS.values())
    sets = "\n\n".join(f"{name} stands for {', '.join(names)}" for name, names in SETS.items())
    contestants = "\n\n".join(f"{name}: {about}" for name, about in CONTESTANTS.items())
    others = f"{PUSHING}: jobs accepted over HTTP\n\n{SINGLE_POLLS}: single polls against the exact optimum, simulated"
    others += f"\n\n{HISTORY}: what a million ended jobs cost, and how long pruning holds up a submission; runs alone"
    others += f"\n\n{PROMPT_FILE}: seconds and memory to price and push 100,000 lines; runs alone"
    others += f"\n\n{ACTIONS}: seconds to retry, cancel, pause or reprioritise 100,000 jobs; runs alone"
    others += f"\n\n{PUSH}: single jobs over {CONNECTIONS} connections, alone and while 100,000 jobs load; runs alone"
    others += f"\n\n{STREAMS}: {LISTENERS:,} listeners to the event feed, each on its own batch; runs alone"
    others += f"\n\n{BULK}: seconds, memory and pauses while 100,000 lines are added to an open batch; runs alone"
    others += f"\n\n{CALLBACKS}: 10,000 callbacks to a receiver that fails and hangs, next to a good one; runs alone"
    return f"LOADS\n\n{loads}\n\n{others}\n\n{sets}\n\nCONTESTANTS\n\n{contestants}"


def main(  # noqa: PLR0913, PLR0917 - typer wants a parameter per option
    loads: Annotated[list[str] | None, typer.Argument(help="names of loads or sets, listed below")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="run a tenth of everything, as a smoke test")] = False,
    runs: Annotated[int, typer.Option(min=1, help="number of runs; the figures are medians over them")] = 1,
    contestant: Annotated[list[str] | None, typer.Option(help="only this contestant; may be repeated")] = None,
    overflow: Annotated[
        str, typer.Option(help="beyond the slots the provider may queue, refuse (429), or both: one after the other")
    ] = "queue",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="a setting of Rushes; may be repeated")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="file with a prompt per line, instead of generated ones")] = None,
    seed: Annotated[int, typer.Option(help="of the render times; each further run uses the next number")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    docs: Annotated[bool, typer.Option("--write-docs", help="save the results in docs/performance.md")] = False,
) -> None:
    """Compare Rushes with other clients on this machine, against a simulated provider.

    Without a name it measures the standard set, in less than 15 minutes.
    """
    alone = {
        HISTORY: measure_history,
        PROMPT_FILE: measure_prompt_file,
        ACTIONS: measure_actions,
        PUSH: measure_single_pushes,
        STREAMS: measure_streams,
        BULK: measure_bulk,
        CALLBACKS: measure_callbacks,
    }
    if loads and len(loads) == 1 and (run_alone := alone.get(loads[0])):
        for table in run_alone(quick=quick, console=TALK):
            _print_table(table)
        return
    names = _read_names(loads or ["standard"])
    wanted = Wanted(
        loads=_find_loads(names, quick=quick),
        contestants=_read_contestants(contestant or []),
        overflows=_read_overflows(overflow),
        runs=runs,
        seed=seed,
        prompts=tuple(_read_prompts(prompts)),
        settings=_read_settings(settings or []),
        pushed_jobs=PUSHED_JOBS_QUICK if quick else PUSHED_JOBS,
        polled_farms=(1 if quick else SEEDS) if SINGLE_POLLS in names else 0,
    )
    plan = make_plan(wanted)
    TALK.print(f"machine: {describe_machine()}")
    TALK.print(f"{_describe_plan(plan)}: about {estimate_seconds(plan) / 60:.0f} minutes")
    try:
        book = measure(plan, console=TALK)
    except CommandError as error:
        sys.exit(f"error: {error}")
    if docs:
        TALK.print(f"written: {', '.join(path.name for path in write_docs(book))}")
    if as_json:
        sys.stdout.write(write_book(book))
    else:
        _print(book)


def _print(book: Book) -> None:
    if book.single_polls is not None:
        for table in make_polls_tables(book.single_polls):
            _print_table(table)
    if book.pushing is not None:
        _print_table(make_pushing_table(book.pushing))
    for results in group(book.results).values():
        _print_table(make_table(results))


def _print_table(table: Table) -> None:
    shown = RichTable(*table.header)
    for row in table.rows:
        shown.add_row(*row)
    OUT.print(f"\n{table.title}", shown, sep="\n")


def _describe_plan(plan: SessionPlan) -> str:
    names = dict.fromkeys(load.name for load, _, _ in plan.contests)
    polls = [SINGLE_POLLS] if plan.wanted.polled_farms else []
    return ", ".join([*polls, *([PUSHING] if plan.pushed_jobs else []), *names])


def _read_names(words: Sequence[str]) -> list[str]:
    try:
        return list_names(list(words))
    except KeyError as error:
        choices = ", ".join([PUSHING, SINGLE_POLLS, *LOADS, *SETS])
        raise typer.BadParameter(f"there is no load {error}; there are {choices}") from None


def _find_loads(names: Sequence[str], *, quick: bool) -> tuple[Load | None, ...]:
    loads = {name: quicken(load) if quick else load for name, load in LOADS.items() if name in names}
    return tuple(loads.get(name) for name in names if name != SINGLE_POLLS)


def _read_contestants(names: Sequence[str]) -> tuple[str, ...]:
    if strangers := [name for name in names if name not in PLAYERS]:
        raise typer.BadParameter(f"there is no contestant {strangers[0]}; there are {', '.join(PLAYERS)}")
    return tuple(names)


def _read_overflows(word: str) -> tuple[Overflow, ...]:
    match word:
        case "queue" | "refuse":
            return (word,)
        case "both":
            return ("queue", "refuse")
        case _:
            raise typer.BadParameter("--overflow is queue, refuse or both")


def _read_settings(pairs: Sequence[str]) -> dict[str, str]:
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise typer.BadParameter(f"--set takes NAME=VALUE, not {wrong[0]}")
    return dict(pair.split("=", 1) for pair in pairs)


def _read_prompts(path: Path | None) -> list[str]:
    lines = path.read_text().splitlines() if path else []
    return [line for line in lines if line.strip()]


if __name__ == "__main__":
    main.__doc__ = f"{main.__doc__}\n\n{_list_choices()}"
    typer.run(main)
