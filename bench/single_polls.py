"""Single polls, simulated: their delay compared with the optimal schedule at equal requests. Needs no servers."""

from collections.abc import Callable

from bench.machine import describe_circumstances
from bench.results import SinglePolls
from bench.tables import Table
from bench.watching import LEARNED_FROM, PRICES, SCENARIOS, SLOTS, compare

COMPARISONS = len(PRICES) * len(SCENARIOS)
ABOUT = f"""\
Simulated, without servers: each request polls one render. Rushes has first learned render times from {LEARNED_FROM}
finished renders on {SLOTS} slots, observed by the same kind of polls. Each mean delay is given as a ratio to that of
the exact optimum (a dynamic programme that knows the distribution) for the same number of requests per render. *Rushes,
informed* also knows the distribution: its ratio exceeds 1 only because of the square-root law; what *Rushes* adds to
that is due to learning. *fixed*: polls at a constant interval; *prior*: Rushes before it has learned anything; *best
delay*: the optimum's mean delay. These polls have no shortest spacing; in use, `RUSHES_POLL_SHORTEST_SECONDS` applies.
In use, Rushes polls a render singly only if no page of the list shows the render together with another one, or if the
list is late. With these loads Rushes would read list pages instead.
"""
_HEADER = (
    "durations",
    "requests",
    "best delay",
    "fixed",
    "prior",
    "Rushes, informed",
    "Rushes",
    "worst run",
)


def measure_single_polls(*, farms: int, show: Callable[[int], None] = lambda done: None) -> SinglePolls:
    """Compare at every price, over `farms` simulated runs; `show` receives the number of comparisons done."""
    circumstances = describe_circumstances()
    compared = []
    for price in PRICES:
        for scenario in SCENARIOS:
            compared.append(compare(scenario, price=price, seeds=farms))
            show(len(compared))
    return SinglePolls(comparisons=tuple(compared), farms=farms, circumstances=circumstances)


def make_polls_tables(polls: SinglePolls) -> list[Table]:
    """A table for each price of a request."""
    return [_make_table(polls, price) for price in dict.fromkeys(each.price for each in polls.comparisons)]


def _make_table(polls: SinglePolls, price: float) -> Table:
    rows = []
    for each in polls.comparisons:
        if each.price == price:
            delays = (each.fixed, each.prior, each.informed, each.learned, each.learned_worst)
            ratios = (f"{delay / each.optimum:.3f}" for delay in delays)
            rows.append((each.scenario, f"{each.requests:.1f}", f"{each.optimum:.2f} s", *ratios))
    several = f"medians over {polls.farms} simulated runs with different seeds"
    runs = "one simulated run" if polls.farms == 1 else several
    return Table(f"single-polls: a request is worth {price:g} s of delay; {runs}", _HEADER, tuple(rows))
