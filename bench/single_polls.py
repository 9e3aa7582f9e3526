"""Single polls, simulated: delay at equal requests beside the best schedule there is. Needs no servers."""

from rich.console import Console
from rich.table import Table

from bench.watching import FIXED_SECONDS, PRICES, SCENARIOS, SEEDS, Comparison, compare, price_fixed


def print_comparisons(console: Console, *, seeds: int = SEEDS) -> None:
    """A line for each fixed interval, and a table for each price of a request."""
    for spacing in FIXED_SECONDS:
        points = [price_fixed(scenario.final, spacing=spacing) for scenario in SCENARIOS]
        told = ", ".join(f"{point.requests:.0f} for {point.delay_seconds:.2f} s" for point in points)
        console.print(f"a look every {spacing:g} s: requests per render and mean delay: {told}")
    for price in PRICES:
        console.print(_make_table(price, [compare(each, price=price, seeds=seeds) for each in SCENARIOS]))


def _make_table(price: float, compared: list[Comparison]) -> Table:
    title = f"mean delay at equal requests, as a ratio to the optimum's; a request is worth {price:g} s"
    columns = ("durations", "requests", "optimum", "fixed", "prior", "law, told the truth", "learned", "worst")
    table = Table(*columns, title=title, title_justify="left")
    for each in compared:
        best = each.optimum.delay_seconds
        delays = (each.fixed, each.prior, each.law, each.learned, each.learned_worst)
        ratios = [f"{delay / best:.3f}" for delay in delays]
        table.add_row(each.scenario, f"{each.optimum.requests:.1f}", f"{best:.2f} s", *ratios)
    return table
