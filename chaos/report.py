"""The results of runs: their cost, one row per run, sums, and the command that repeats a run that broke a promise.

The cost is calculated from the provider's books and the files alone, in the same way for every victim.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from cli.output import show_money, show_seconds
from rushes.monitoring.audit import Books, Finding
from sandbox.wavespeed.handle import Simulator

OURS = "rushes"
LOSSES = ("paid_has_video", "every_task_in_a_row", "files_exist", "files_unchanged")
DOUBLES = ("bought_once", "no_unknown_prediction", "no_duplicate")
COLUMNS = ("SEED", "WHO", "FAULTS", "JOBS", "ENDED", "LOST", "PAID TWICE", "WASTED", "BROKEN", "TIME")


@dataclass(frozen=True, slots=True)
class Cost:
    """Renders that were paid for and not refunded, compared with the jobs that wanted them and the existing files."""

    lost: int  # paid for, wanted and rendered, but without a file
    paid_twice: int  # paid for beyond what was wanted
    wasted: Decimal  # dollars spent on anything but a wanted file


@dataclass(frozen=True, slots=True)
class Purchases:
    """The purchases for which the provider kept the money, by prompt."""

    books: Books
    kept: Counter[str] = field(default_factory=Counter)
    spent: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    empty: Counter[str] = field(default_factory=Counter)  # the part of `kept` that never had a file to fetch


def read_purchases(simulator: Simulator) -> Purchases:
    """The simulator's tasks and their money, in the form in which the audit reads those of any provider."""
    tasks = simulator.tasks()
    held, kept = (
        {each["id"]: Decimal(each["price"]) for each in tasks if each["money"] == money} for money in ("held", "kept")
    )
    most = simulator.stats()["most_unfinished"]
    purchases = Purchases(Books([each["id"] for each in tasks], held=held, kept=kept, most_unfinished=most))
    for each in tasks:
        if each["money"] == "kept":
            prompt = str(each["input"]["prompt"])
            purchases.kept[prompt] += 1
            purchases.empty[prompt] += each["output"] is None
            purchases.spent[prompt] += kept[each["id"]]
    return purchases


def reckon(purchases: Purchases, *, wanted: Mapping[str, int], files: Mapping[str, int]) -> Cost:
    """`wanted` and `files` count jobs and their videos by prompt, since equal jobs may get each other's render."""
    lost = twice = 0
    wasted = Decimal(0)
    for prompt, bought in purchases.kept.items():
        useful = min(bought, files.get(prompt, 0), wanted.get(prompt, 0))
        lost += max(0, min(bought, wanted.get(prompt, 0)) - useful - purchases.empty[prompt])
        twice += max(0, bought - wanted.get(prompt, 0))
        wasted += purchases.spent[prompt] * (bought - useful) / bought
    return Cost(lost, twice, wasted)


@dataclass(frozen=True, slots=True)
class Trial:
    """The parameters of a run: the same trial gets the same plan."""

    seed: int
    jobs: int
    scenario: str = "everything"
    minutes: float | None = None

    @property
    def command(self) -> str:
        """The command that repeats it."""
        words = [f"rushes chaos --seed {self.seed} --jobs {self.jobs}"]
        words += [f"--minutes {self.minutes:g}"] if self.minutes else []
        words += [f"--scenario {self.scenario}"] if self.scenario != "everything" else []
        return " ".join(words)


@dataclass(slots=True)
class Report:
    """The result of one run. `broken` is only known for Rushes, since the audit reads our rows."""

    trial: Trial
    who: str = OURS
    faults: Counter[str] = field(default_factory=Counter)
    strikes: Counter[str] = field(default_factory=Counter)  # how often each fault of the provider struck
    pushes: Counter[str] = field(default_factory=Counter)
    states: dict[str, int] = field(default_factory=dict)
    cost: Cost = field(default_factory=lambda: Cost(0, 0, Decimal(0)))
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    drain_seconds: float = 0.0
    logs: str = ""

    @property
    def broken(self) -> list[Finding]:
        return [each for each in self.findings if each.is_broken]

    @property
    def is_broken(self) -> bool:
        """Whether Rushes broke a promise. The plain Celery task that it is compared with makes none."""
        return self.who == OURS and bool(self.broken or self.lost or self.paid_twice or self.ended != self.trial.jobs)

    @property
    def ended(self) -> int:
        return sum(self.states.get(state, 0) for state in ("succeeded", "failed", "cancelled"))

    @property
    def lost(self) -> int:
        """Paid renders that have no file: counted from the simulator's books, or by the audit if it finds more."""
        return max(self.cost.lost, self._count(LOSSES))

    @property
    def paid_twice(self) -> int:
        return max(self.cost.paid_twice, self._count(DOUBLES))

    def describe(self) -> str:
        """For a run that broke a promise: the broken promises, with examples, and the command that repeats it."""
        lines = [f"{each.name}: {each.count} x {each.sentence}: {', '.join(each.examples)}" for each in self.broken]
        return "\n".join([*lines, f"logs: {self.logs}", f"repeat it with: {self.trial.command}"])

    def as_dict(self) -> dict[str, Any]:
        """The report as a dictionary for JSON."""
        return {
            "seed": self.trial.seed,
            "who": self.who,
            "scenario": self.trial.scenario,
            "jobs": self.trial.jobs,
            "ended": self.ended,
            "states": self.states,
            "lost": self.lost,
            "paid_twice": self.paid_twice,
            "wasted": str(self.cost.wasted),
            "broken": {each.name: each.count for each in self.broken},
            "faults": dict(self.faults),
            "strikes": dict(self.strikes),
            "pushes": dict(self.pushes),
            "seconds": round(self.seconds, 1),
            "drain_seconds": round(self.drain_seconds, 1),
            "ok": not self.is_broken,
            "repeat": self.trial.command,
        }

    def _count(self, names: Sequence[str]) -> int:
        return sum(each.count for each in self.findings if each.name in names)


def list_rows(reports: Sequence[Report]) -> list[tuple[object, ...]]:
    """The table: a row per run, and a sum for each victim with more than one run."""
    rows = [_as_row(str(each.trial.seed), [each]) for each in reports]
    for who in dict.fromkeys(each.who for each in reports):
        own = [each for each in reports if each.who == who]
        if len(own) > 1:
            rows.append(_as_row("all", own))
    return rows


def list_faults(reports: Sequence[Report]) -> list[tuple[object, ...]]:
    """For each kind: how often it was injected and, for the provider's faults, how often it struck a request."""
    faults: Counter[str] = sum((each.faults for each in reports), Counter())
    strikes: Counter[str] = sum((each.strikes for each in reports), Counter())
    kinds = sorted({*faults, *(kind for kind, count in strikes.items() if count)})
    return [(kind, faults[kind] or "always on", strikes.get(kind, "")) for kind in kinds]


def describe_pushes(reports: Sequence[Report]) -> str:
    """How often pushes of batches were repeated, in one line."""
    counts: Counter[str] = sum((each.pushes for each in reports), Counter())
    kinds = ("repeated", "repeated"), ("answers_lost", "without an answer"), ("stored_before", "found to be stored")
    return ", ".join(f"{counts[name]} {words}" for name, words in kinds)


def _as_row(seed: str, reports: Sequence[Report]) -> tuple[object, ...]:
    ours = reports[0].who == OURS
    return (
        seed,
        reports[0].who,
        sum(each.faults.total() for each in reports),
        sum(each.trial.jobs for each in reports),
        sum(each.ended for each in reports),
        sum(each.lost for each in reports),
        sum(each.paid_twice for each in reports),
        show_money(str(sum((each.cost.wasted for each in reports), Decimal(0)))),
        sum(len(each.broken) for each in reports) if ours else "",
        show_seconds(sum(each.seconds for each in reports)),
    )
