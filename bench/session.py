"""One session: the contests and their order, a progress display, and the collected results."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.arithmetic import Figures
from bench.contest import hold_contest
from bench.contestants import PLAYERS
from bench.loads import OURS, SINGLE_POLLS, Load, Overflow
from bench.machine import describe_circumstances
from bench.pushing import measure_pushing
from bench.results import Book, Pushing, Result, SinglePolls
from bench.single_polls import COMPARISONS, measure_single_polls

PUSHED_JOBS = 10_000
PUSHED_JOBS_QUICK = 500
PUSHING_SECONDS = 40.0
COMPARISON_SECONDS = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The user's request. A load of None is the pushing of jobs."""

    loads: tuple[Load | None, ...]
    contestants: tuple[str, ...] = ()
    """Only these contestants; empty means those of the load."""
    overflows: tuple[Overflow, ...] = ("queue",)
    runs: int = 1
    seed: int = 1
    prompts: tuple[str, ...] = ()
    settings: Mapping[str, str]
    pushed_jobs: int = PUSHED_JOBS
    polled_farms: int = 0
    """Simulated runs for the comparison of single polls; 0 for none."""


class Contest(NamedTuple):
    """One run of one contestant."""

    load: Load
    contestant: str
    seed: int


class SessionPlan(NamedTuple):
    """Every contest of a session, in order."""

    wanted: Wanted
    contests: tuple[Contest, ...]

    @property
    def pushed_jobs(self) -> int:
        """Jobs to push; 0 if pushing was not requested."""
        return self.wanted.pushed_jobs if None in self.wanted.loads else 0


def make_plan(wanted: Wanted) -> SessionPlan:
    """Contestants take turns within each run, so that a slower machine affects all of them equally."""
    contests = [
        Contest(load.with_overflow(overflow), contestant, wanted.seed + run)
        for load in wanted.loads
        if load is not None
        for overflow in wanted.overflows
        for run in range(wanted.runs)
        for contestant in wanted.contestants or load.contestants
        if contestant in PLAYERS
    ]
    return SessionPlan(wanted, tuple(contests))


def estimate_seconds(plan: SessionPlan) -> float:
    """The approximate duration of the session."""
    polls = COMPARISON_SECONDS * COMPARISONS * plan.wanted.polled_farms
    return sum(contest.load.seconds for contest in plan.contests) + PUSHING_SECONDS * bool(plan.pushed_jobs) + polls


def measure(plan: SessionPlan, *, console: Console) -> Book:
    """Hold every contest, with a progress display. Raises `ContestFailed`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    gathered: dict[tuple[str, str, str], Result] = {}
    with Progress(*columns, console=console) as progress:
        polls = _compare_polls(plan, progress) if plan.wanted.polled_farms else None
        pushing = _push(plan, progress) if plan.pushed_jobs else None
        for number, contest in enumerate(plan.contests, start=1):
            result = _hold(plan, contest, progress, name=f"{number}/{len(plan.contests)} {_name(contest)}")
            key = contest.load.name, contest.load.overflow, contest.contestant
            kept = gathered.get(key)
            gathered[key] = replace(kept, runs=(*kept.runs, *result.runs)) if kept else result
    return Book(tuple(gathered.values()), pushing, polls)


def _compare_polls(plan: SessionPlan, progress: Progress) -> SinglePolls:
    task = progress.add_task(SINGLE_POLLS, total=COMPARISONS)
    return measure_single_polls(farms=plan.wanted.polled_farms, show=lambda done: progress.update(task, completed=done))


def _push(plan: SessionPlan, progress: Progress) -> Pushing:
    task = progress.add_task("pushing", total=1)
    pushing = measure_pushing(jobs=plan.pushed_jobs)
    progress.update(task, completed=1)
    return pushing


def _hold(plan: SessionPlan, contest: Contest, progress: Progress, *, name: str) -> Result:
    load, wanted = contest.load, plan.wanted
    task = progress.add_task(name, total=load.renders)
    circumstances = describe_circumstances()
    figures: Figures = hold_contest(
        load,
        contest.contestant,
        seed=contest.seed,
        prompts=wanted.prompts,
        settings=wanted.settings,
        show=lambda done: progress.update(task, completed=done),
    )
    return Result(
        load=load.name,
        about=load.about,
        overflow=load.overflow,
        contestant=contest.contestant,
        slots=load.slots,
        median=load.median,
        sigma=load.sigma,
        runs=(figures,),
        circumstances=circumstances,
        settings=wanted.settings if contest.contestant in OURS else {},
    )


def _name(contest: Contest) -> str:
    mode = "" if contest.load.overflow == "queue" else ", 429"
    return f"{contest.load.name}{mode}: {contest.contestant}"
