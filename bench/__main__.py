"""`python -m bench`: measure, and print the figures with the machine they are from."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.machine import describe_machine
from bench.stages import INSTANT_SECONDS, Pushing, Rendering, measure_pushing, measure_rendering
from bench.watching import (
    CURVE_PRICES,
    FIXED_SECONDS,
    PRICES,
    SCENARIOS,
    SEEDS,
    Comparison,
    compare,
    price_fixed,
    trace_curves,
)

CONSOLE = Console(width=110)
app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    jobs: Annotated[int, typer.Option(help="jobs of the pushed batch")] = 10_000,
    renders: Annotated[int, typer.Option(help="renders of each rendering stage")] = 400,
    prompts: Annotated[Path | None, typer.Option(help="a prompt per line, instead of made ones")] = None,
    slots: Annotated[int, typer.Option(help="slots of the account")] = 100,
    submits: Annotated[int, typer.Option(help="submissions a minute of the realistic stage")] = 6_000,
    median: Annotated[float, typer.Option(help="median seconds of the realistic stage")] = 8.0,
) -> None:
    """Push jobs, render with an instant provider, render with a realistic one; or one part alone.

    Example: python -m bench --prompts prompts.txt --slots 100 --median 8
    """
    if context.invoked_subcommand is not None:
        return
    lines = prompts.read_text().splitlines() if prompts else [f"a take, number {number}" for number in range(renders)]
    chosen = [line for line in lines if line.strip()]
    CONSOLE.print(f"machine: {describe_machine()}")
    CONSOLE.print(_pushing_table(measure_pushing(jobs=jobs)))
    instant = measure_rendering(
        chosen, slots=slots, submits_per_minute=60_000, median_seconds=INSTANT_SECONDS, shortest=0.1
    )
    CONSOLE.print(_rendering_table("an instant provider", instant))
    real = measure_rendering(chosen, slots=slots, submits_per_minute=submits, median_seconds=median, shortest=0.5)
    CONSOLE.print(_rendering_table(f"a provider with a median of {median:g} s", real))


@app.command()
def watching(
    seeds: Annotated[int, typer.Option(help="farms that each belief is learned on")] = SEEDS,
    curves: Annotated[Path | None, typer.Option(help="where to keep points of delay against requests, as JSON")] = None,
) -> None:
    """Simulate single polls: delay at equal requests beside the best schedule there is. Needs no servers.

    Example: python -m bench watching --curves curves.json
    """
    for spacing in FIXED_SECONDS:
        points = [price_fixed(scenario.final, spacing=spacing) for scenario in SCENARIOS]
        told = ", ".join(f"{point.requests:.0f} for {point.delay_seconds:.2f} s" for point in points)
        CONSOLE.print(f"a look every {spacing:g} s: requests per render and mean delay: {told}")
    for price in PRICES:
        CONSOLE.print(_watching_table(price, [compare(each, price=price, seeds=seeds) for each in SCENARIOS]))
    if curves is not None:
        traced = {each.name: trace_curves(each, prices=CURVE_PRICES) for each in SCENARIOS}
        curves.write_text(json.dumps(traced, indent=1))


def _watching_table(price: float, compared: list[Comparison]) -> Table:
    title = f"mean delay at equal requests, as a ratio to the optimum's; a request is worth {price:g} s"
    columns = ("durations", "requests", "optimum", "fixed", "prior", "law, told the truth", "learned", "worst")
    table = Table(*columns, title=title, title_justify="left")
    for each in compared:
        best = each.optimum.delay_seconds
        delays = (each.fixed, each.prior, each.law, each.learned, each.learned_worst)
        ratios = [f"{delay / best:.3f}" for delay in delays]
        table.add_row(each.scenario, f"{each.optimum.requests:.1f}", f"{best:.2f} s", *ratios)
    return table


def _pushing_table(pushing: Pushing) -> Table:
    table = Table("pushing", "per second", "ratio", title="jobs accepted over HTTP", title_justify="left")
    table.add_row("a bare COPY of rows", f"{pushing.copy:,.0f}", "1")
    table.add_row("jobs of one batch", f"{pushing.batch:,.0f}", f"{pushing.batch / pushing.copy:.3f}")
    table.add_row("single-row transactions", f"{pushing.commit:,.0f}", "1")
    table.add_row("single jobs, 8 clients", f"{pushing.single:,.0f}", f"{pushing.single / pushing.commit:.3f}")
    return table


def _rendering_table(title: str, rendering: Rendering) -> Table:
    table = Table("figure", "value", title=f"{rendering.renders} renders, {title}", title_justify="left")
    table.add_row("renders finished per second", f"{rendering.renders / rendering.seconds:.1f}")
    table.add_row("seconds from push to the last file", f"{rendering.seconds:.1f}")
    ideal = rendering.renders * rendering.median_seconds / rendering.slots
    table.add_row("  the slots alone would take about", f"{ideal:.1f}")
    table.add_row("accepted and unfinished at most", f"{rendering.most_unfinished} of {rendering.slots} slots")
    table.add_row("mean delay from completion to knowing", f"{rendering.mean_delay_seconds:.2f} s")
    answers = rendering.answers
    told = f"{answers.good} good, {answers.failed} failed, the slowest {answers.slowest_seconds * 1_000:.0f} ms"
    table.add_row("the API's answers meanwhile", told)
    for kind, count in sorted(rendering.requests.items()):
        table.add_row(f"{kind} requests per render", f"{count / rendering.renders:.2f}")
    total = 0.0
    for kind, usage in sorted(rendering.usage.items()):
        total += 0 if "not ours" in kind else usage.cpu_seconds
        milliseconds = usage.cpu_seconds * 1_000 / rendering.renders
        memory = usage.resident_bytes / 2**20
        table.add_row(f"{kind}: CPU per render, memory", f"{milliseconds:.1f} ms, {memory:.0f} MiB")
    table.add_row("all of ours: CPU per render", f"{total * 1_000 / rendering.renders:.1f} ms")
    return table


if __name__ == "__main__":
    app()
