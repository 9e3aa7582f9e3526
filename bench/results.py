"""Saved results: the measurement, the number of runs, the machine and the date."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench.arithmetic import Figures, find_medians
from bench.watching import Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One contestant under one load."""

    load: str
    about: str
    overflow: str
    contestant: str
    slots: int
    median: float  # seconds of a render
    sigma: float
    runs: tuple[Figures, ...]
    circumstances: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)  # settings of Rushes that the user changed

    @property
    def figures(self) -> Figures:
        """The medians over the runs."""
        return find_medians(self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushing:
    """Numbers of jobs accepted per second."""

    batch: float
    single: float
    copy: float  # rows of a bare COPY, in the same run
    commit: float  # single-row transactions, in the same run
    circumstances: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SinglePolls:
    """Single polls compared with the optimal schedule."""

    comparisons: tuple[Comparison, ...]
    farms: int  # number of simulated runs; the figures are medians over them
    circumstances: Mapping[str, str]


class Book(NamedTuple):
    """All measured results."""

    results: tuple[Result, ...] = ()
    pushing: Pushing | None = None
    single_polls: SinglePolls | None = None


def merge(kept: Book, new: Book) -> Book:
    """The saved results, with new ones in place of those for the same load, mode and contestant."""
    found = {_key(result): result for result in (*kept.results, *new.results)}
    return Book(tuple(found.values()), new.pushing or kept.pushing, new.single_polls or kept.single_polls)


def write_book(book: Book) -> str:
    """The book as JSON."""
    results = [asdict(result) | {"figures": asdict(result.figures)} for result in book.results]
    pushing = asdict(book.pushing) if book.pushing else None
    polls = asdict(book.single_polls) if book.single_polls else None
    return json.dumps({"pushing": pushing, "single polls": polls, "results": results}, indent=1) + "\n"


def read_book(path: Path) -> Book:
    """The book at this path; an empty one if there is none yet."""
    if not path.exists():
        return Book()
    kept = json.loads(path.read_text())
    return Book(
        tuple(_read_result(each) for each in kept["results"]),
        Pushing(**kept["pushing"]) if kept["pushing"] else None,
        _read_polls(polls) if (polls := kept.get("single polls")) else None,
    )


def group(results: Sequence[Result]) -> dict[tuple[str, str], list[Result]]:
    """Results grouped by load and mode of the provider, for tables; groups keep their order of appearance."""
    tables: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        tables.setdefault((result.load, result.overflow), []).append(result)
    return tables


def _key(result: Result) -> tuple[str, str, str]:
    return result.load, result.overflow, result.contestant


def _read_polls(kept: dict[str, Any]) -> SinglePolls:
    return SinglePolls(**kept | {"comparisons": tuple(Comparison(**each) for each in kept["comparisons"])})


def _read_result(kept: dict[str, Any]) -> Result:
    kept.pop("figures")
    return Result(**kept | {"runs": tuple(Figures(**run) for run in kept["runs"])})
