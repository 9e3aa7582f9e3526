"""Results as tables, with a row per figure and a column per contestant; the screen and the page show the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.arithmetic import Figures
from bench.loads import CONTESTANTS, PROMISES
from bench.processes import POSTGRES, REDIS
from bench.results import Pushing, Result

NOTHING = "-"
SERVERS = (POSTGRES, REDIS)
_KINDS = ("client", "worker", "store worker", "API", "Flower", *SERVERS)
SHORT_NAMES = {
    "sdk": "official SDK",
    "half-second": "0.5 s polling",
    "celery": "plain Celery",
    "rushes": "Rushes",
    "rushes-webhooks": "Rushes, webhooks",
}
SMALL = 10
"""A figure without a unit has decimals below this."""
_MODES = {"queue": "the provider queues beyond the slots", "refuse": "the provider answers 429 beyond the slots"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text cells."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def make_table(results: Sequence[Result]) -> Table:
    """One load in one mode: the contestants side by side, and the promises for Rushes."""
    first, figures = results[0], [result.figures for result in results]
    promises = PROMISES.get((first.load, first.overflow), {})
    rows = []
    for key, label, show in _list_rows(figures):
        cells = [show(each) or NOTHING for each in figures]
        if any(cell != NOTHING for cell in cells):
            rows.append((label, *cells, *([promises.get(key, "")] if promises else [])))
    header = ("", *(SHORT_NAMES.get(result.contestant, result.contestant) for result in results))
    title = f"{first.load}: {first.about}; {_MODES[first.overflow]}; {_count_runs(results)}"
    return Table(title, (*header, "promised") if promises else header, tuple(rows))


def make_pushing_table(pushing: Pushing) -> Table:
    """The rate at which jobs are accepted, compared with that of the same Postgres in the same minute."""
    return Table(
        "pushing: jobs accepted over HTTP",
        ("", "per second", "ratio"),
        (
            ("a bare COPY of rows", f"{pushing.copy:,.0f}", "1"),
            ("jobs of one batch", f"{pushing.batch:,.0f}", f"{pushing.batch / pushing.copy:.3f}"),
            ("single-row transactions", f"{pushing.commit:,.0f}", "1"),
            ("single jobs, 8 clients", f"{pushing.single:,.0f}", f"{pushing.single / pushing.commit:.3f}"),
        ),
    )


def explain_contestants(results: Sequence[Result]) -> list[str]:
    """A line about each contestant that occurs."""
    occurring = dict.fromkeys(result.contestant for result in results)
    return [f"{SHORT_NAMES.get(name, name)}: {CONTESTANTS[name]}" for name in occurring if name in CONTESTANTS]


def count_cores(figures: Figures) -> float:
    """The number of cores used by all processes of a contestant, without servers."""
    own = sum(spent for kind, spent in figures.cpu_ms.items() if kind not in SERVERS)
    return own * figures.renders / 1_000 / figures.seconds


_Row = tuple[str, str, Callable[[Figures], str | None]]


def _list_rows(figures: Sequence[Figures]) -> list[_Row]:
    return [
        ("watching_requests", "watching requests per render", lambda each: f"{each.watching_requests:.2f}"),
        ("mean_delay", "mean delay from completion to knowing", lambda each: _format(each.mean_delay, "{:.2f} s")),
        ("p95_delay", "95 % of the renders known within", lambda each: _format(each.p95_delay, "{:.2f} s")),
        ("slot_share", "slots busy while jobs waited", lambda each: _format_share(each.slot_share)),
        (
            "most_unfinished",
            "most renders accepted and unfinished at once",
            lambda each: f"{each.most_unfinished:,.0f}",
        ),
        ("known_rate", "renders known per second", lambda each: _format_rate(each, each.known_seconds)),
        ("rate", "renders stored per second", lambda each: _format_rate(each, each.known_seconds and each.seconds)),
        ("cpu", "CPU per render, own processes", lambda each: _sum_of(each.cpu_ms, "{:.1f} ms")),
        *(_cpu_row(kind) for kind in _kinds_of(figures)),
        ("cores", "CPU cores used, without Postgres and Redis", lambda each: f"{count_cores(each):.2f}"),
        ("memory", "memory, own processes", lambda each: _sum_of(each.memory_mb, "{:,.0f} MB")),
        *(_memory_row(kind) for kind in _kinds_of(figures)),
        ("unseen", "renders that ended unseen", lambda each: f"{each.unseen:,.0f}" if each.unseen else None),
        ("simulator", "the simulator's share of a core", lambda each: f"{each.simulator_cores:.2f}"),
        *(_extra_row(name) for name in dict.fromkeys(name for each in figures for name in each.extra)),
    ]


def _kinds_of(figures: Sequence[Figures]) -> list[str]:
    """The kinds that get their own row. `client` gets none, since a script has no other kind."""
    occurring = {kind for each in figures for kind in each.cpu_ms}
    return [kind for kind in (*_KINDS, *sorted(occurring - set(_KINDS))) if kind in occurring and kind != "client"]


def _cpu_row(kind: str) -> _Row:
    return f"cpu {kind}", f"- CPU, {kind}", lambda each: _format(each.cpu_ms.get(kind), "{:.1f} ms")


def _memory_row(kind: str) -> _Row:
    return f"memory {kind}", f"- memory, {kind}", lambda each: _format(each.memory_mb.get(kind), "{:,.0f} MB")


def _extra_row(name: str) -> _Row:
    return name, name, lambda each: _format_extra(each.extra.get(name))


def _format_extra(value: float | None) -> str | None:
    return _format(value, "{:.2f}" if value and value < SMALL else "{:,.0f}")


def _sum_of(by_kind: dict[str, float], form: str) -> str:
    return form.format(sum(amount for kind, amount in by_kind.items() if kind not in SERVERS))


def _format(value: float | None, form: str) -> str | None:
    return None if value is None else form.format(value)


def _format_rate(figures: Figures, seconds: float | None) -> str | None:
    return f"{figures.renders / seconds:.1f}" if seconds else None


def _format_share(share: float | None) -> str | None:
    return None if share is None else f"{share * 100:.1f} %"


def _count_runs(results: Sequence[Result]) -> str:
    most = max(len(result.runs) for result in results)
    if most == 1:
        return "one run"
    fewer = [SHORT_NAMES.get(each.contestant, each.contestant) for each in results if len(each.runs) == 1]
    return f"medians over {most} runs" + (f", of {', '.join(fewer)} one run" if fewer else "")
