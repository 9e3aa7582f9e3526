"""`docs/performance.md`: every table from `docs/performance.json`, and the plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.curves import draw_curves
from bench.loads import PUSHING, SINGLE_POLLS
from bench.plot import draw_plot
from bench.results import Book, Pushing, Result, SinglePolls, group, merge, read_book, write_book
from bench.single_polls import ABOUT, make_polls_tables
from bench.tables import Table, explain_contestants, make_pushing_table, make_table

DOCS = Path(__file__).parents[1] / "docs"
PLOTTED = ("watching-100", "watching-100-short", "watching-100-quick", "watching-100-short-quick")
"""The plot shows the first of these loads that was measured."""

_INTRODUCTION = """\
# Performance

`python -m bench --write-docs` measured every figure below and wrote this page from `performance.json`. Do not edit it.
`python -m bench --help` lists the loads.

Each contestant works against its own simulator with the same seed, so the n-th render takes the same time for all of
them. They run one after the other on the same machine, or a few at a time if together they leave half of it idle.
*Delay* is the time from the end of a render in the simulator to the arrival of the answer at the contestant, by this
machine's clock. *Slots busy* is measured at the simulator, from the first moment at which all slots were busy to the
last submission. CPU and memory cover all processes of a contestant, with Postgres and Redis listed separately; the
simulator is not included. Memory is the maximum that was resident at the same time. Every process of Rushes is running:
API, Flower, one worker for submissions and checks, and one for downloads. Its settings are the load's limits and the
defaults, with these exceptions: in every load the prior has the true median of the render times; in watching-100 the
budget is 4.5 checks a second instead of two; in batch-946 nothing is overcommitted; in instant the shortest interval
between two polls of a render is 0.1 s. All contestants download every video; Rushes also probes it and takes a poster
frame, which is most of its store worker's work. In the storing loads each video has a detailed picture, and a thread of
the benchmark also downloads the newest video to a file twice a second, without any checks.
"""


def write_docs(new: Book, docs: Path = DOCS) -> list[Path]:
    """Merge new results into the saved ones, and write the data, the plot and the page. Returns their paths."""
    data, page, plot = docs / "performance.json", docs / "performance.md", docs / "images" / "watching.png"
    book = merge(read_book(data), new)
    data.write_text(write_book(book))
    plotted = choose_plotted(book.results)
    if plotted:
        draw_plot(plotted, draw_curves(plotted[0]), plot)
    page.write_text(render_page(book, plot=plot.relative_to(docs) if plotted else None))
    return [data, page, *([plot] if plotted else [])]


def choose_plotted(results: Sequence[Result]) -> list[Result]:
    """The results for the plot: one load, with a provider that queues."""
    tables = group(results)
    return next((found for name in PLOTTED if (found := tables.get((name, "queue")))), [])


def render_page(book: Book, *, plot: Path | None) -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    if book.results:
        parts.append("\n".join(f"* {line}" for line in explain_contestants(book.results)) + "\n")
    if plot is not None:
        parts.append(_render_plot(plot, choose_plotted(book.results)[0]))
    tables = [_render_results(results) for results in group(book.results).values()]
    parts += [_render_polls(book.single_polls)] if book.single_polls else []
    parts += [*tables, *([_render_pushing(book.pushing)] if book.pushing else [])]
    return "\n".join(parts)


def render_table(table: Table) -> str:
    """A table in Markdown with right-aligned figures."""
    lines = [table.header, ("---", *["---:"] * (len(table.header) - 1)), *table.rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _render_plot(plot: Path, first: Result) -> str:
    return (
        f"## Delay against requests\n\n![Mean delay against watching requests per render]({plot.as_posix()})\n\n"
        f"{first.load}: {first.about}.\n\n"
        "The line is the exact optimum, computed by dynamic programming: the least mean delay for a number of\n"
        "requests if each request checks one render and the distribution of render times is known. Only a contestant\n"
        "that checks many renders with one request (the dotted line: list pages), or uses webhooks, can be below it.\n"
    )


def _render_results(results: Sequence[Result]) -> str:
    table = make_table(results)
    name, about = table.title.split(": ", 1)
    refuses = ", provider refuses" if results[0].overflow == "refuse" else ""
    again = f"    python -m bench {_command(results)}"
    circumstances = _describe({result.contestant: result.circumstances for result in results})
    return f"## {name}{refuses}\n\n{about}.\n\n{render_table(table)}\n{circumstances}\n{again}\n"


def _render_pushing(pushing: Pushing) -> str:
    table = render_table(make_pushing_table(pushing))
    circumstances = _describe({PUSHING: pushing.circumstances})
    return f"## {PUSHING}\n\nJobs accepted over HTTP.\n\n{table}\n{circumstances}\n    python -m bench {PUSHING}\n"


def _render_polls(polls: SinglePolls) -> str:
    tables = "\n".join(
        f"{table.title.split(': ', 1)[1]}:\n\n{render_table(table)}" for table in make_polls_tables(polls)
    )
    circumstances = _describe({SINGLE_POLLS: polls.circumstances})
    return f"## {SINGLE_POLLS}\n\n{ABOUT}\n{tables}\n{circumstances}\n    python -m bench {SINGLE_POLLS}\n"


def _command(results: Sequence[Result]) -> str:
    first = results[0]
    name = first.load.removesuffix("-quick")
    words = [name, *(["--quick"] if name != first.load else [])]
    words += [f"--overflow {first.overflow}"] if first.overflow != "queue" else []
    words += [f"--contestant {result.contestant}" for result in results]
    runs = max(len(result.runs) for result in results)
    settings = next((result.settings for result in results if result.settings), first.settings)
    words += [f"--set {key}={value}" for key, value in settings.items()]
    return " ".join([*words, *([f"--runs {runs}"] if runs > 1 else [])])


def _describe(circumstances: Mapping[str, Mapping[str, str]]) -> str:
    """Each distinct machine and date once, with the names it applies to if they differ."""
    days: dict[tuple[str, ...], list[str]] = {}
    for name, each in circumstances.items():
        days.setdefault((each["machine"], each["versions"], each["date"][:10]), []).append(name)
    lines = []
    for (machine, versions, day), names in days.items():
        loads = ", ".join(circumstances[name]["load average before"] for name in names)
        about = f" ({', '.join(names)})" if len(days) > 1 else ""
        lines.append(f"{day}{about}, {machine}; load average before: {loads}; {versions}.\n")
    return "".join(lines)
