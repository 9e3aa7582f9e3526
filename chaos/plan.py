"""The faults of a run and their times, drawn from a seed: the same seed gives the same plan. Pure: no clock, no I/O."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chaos import faults
from chaos.faults import Rules

LONG_RUN_JOBS = 200
"""From this number of jobs on, the list lags by up to 20 s instead of 2 s, and the provider is away for a minute if the
scenario breaks it."""
SECONDS_PER_JOB, SHORT_SECONDS_PER_JOB = 0.2, 0.3
"""Seconds of faults per job: about as long as the farm takes for one job under these faults."""
OWN_EVERY, PROVIDERS_EVERY = 3.2, 2.4
"""Mean seconds between two of our own faults, and between two of the provider's, in a long run."""
SHORT_OWN_EVERY, SHORT_PROVIDERS_EVERY = 2.0, 1.5
LAG_SECONDS, SHORT_LAG_SECONDS = 20.0, 2.0
LAG_PROBABILITY = 0.6
OUTAGE_SECONDS = 60.0
GAP_PROBABILITY = 0.5
TWIN_EVERY = 10
"""One job in this many has the same prompt as the job before it."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Which faults a run draws from."""

    name: str
    about: str
    always: Rules
    breaks_processes: bool = False
    breaks_provider: bool = False
    always_lags: bool = False  # the list lags by up to 20 s in short runs as well
    restores: bool = False  # the database is put back to an earlier state, once
    pushes_singly: bool = False  # each job is pushed by itself, while only `faults.PUSH_FAULTS` occur
    calls_back: bool = False  # a receiver gets every event, while only `faults.CALLBACK_FAULTS` occur
    breaks_outputs: bool = False  # the output host fails in each way in turn, nothing else does; every job must succeed


SCENARIOS = {
    each.name: each
    for each in (
        Scenario(
            "everything",
            "our processes, both servers and the provider, all at once",
            faults.ALWAYS,
            breaks_processes=True,
            breaks_provider=True,
        ),
        Scenario("processes", "our processes and both servers; the provider is healthy", {}, breaks_processes=True),
        Scenario("provider", "the provider alone", faults.ALWAYS, breaks_provider=True),
        Scenario(
            "lost-answers",
            "one submit answer in ten is lost (dropped, 504, hung), 6 of 10 lists are 20 s late",
            faults.LOST_ANSWERS,
            always_lags=True,
        ),
        Scenario(
            "restore",
            "the database is put back to an earlier state once; one submit answer in ten is lost, too",
            faults.LOST_ANSWERS,
            restores=True,
        ),
        Scenario(
            "pushes",
            "the API, a worker and Postgres die while single jobs are pushed, each with an idempotency key",
            {},
            breaks_processes=True,
            pushes_singly=True,
        ),
        Scenario(
            "callbacks",
            "the API, the workers and Postgres die during pushes of batches and callbacks; every callback must arrive, "
            "and a reader of the event feed must miss nothing",
            {},
            breaks_processes=True,
            calls_back=True,
        ),
        Scenario(
            "outputs",
            "the output host fails in each way, one after the other; every job must succeed",
            {},
            breaks_outputs=True,
        ),
    )
}


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault: its start (seconds from the start of the run), kind, duration and, for the provider, its rule."""

    at: float
    kind: str
    seconds: float
    rule: Mapping[str, Any] | None = field(default=None, compare=False)  # None: a fault of our own side

    @property
    def name(self) -> str:
        """Its name in the simulator."""
        return faults.ALIASES.get(self.kind, self.kind)


@dataclass(frozen=True, slots=True)
class Push:
    """One batch: the time of its push, its prompts, and the delay after which the API is killed, if it is."""

    at: float
    number: int
    prompts: tuple[str, ...]
    kills_after: float | None = None


@dataclass(frozen=True, slots=True)
class Restore:
    """When the database is copied and when the copy is restored, as shares of jobs."""

    copied_at: float  # the share of all jobs that are bought before the copy
    returned_at: float  # the share of the remaining jobs that are bought before the restore


@dataclass(frozen=True, slots=True)
class Plan:
    """A run: its batches, its faults at their times; all faults are over after `seconds`."""

    seed: int
    seconds: float
    pushes: tuple[Push, ...]
    faults: tuple[Fault, ...]
    always: Rules
    list_lag: float  # the longest, in seconds
    restore: Restore | None = None
    pushes_singly: bool = False
    calls_back: bool = False
    hastens: bool = True  # once all faults are over, the waits after failures are cut short

    @property
    def prompts(self) -> list[str]:
        """The prompts of all jobs."""
        return [prompt for push in self.pushes for prompt in push.prompts]


def draw_plan(
    seed: int,
    *,
    jobs: int,
    scenario: Scenario,
    minutes: float | None = None,
    kinds: Iterable[str] = (*faults.OWN_FAULTS, *faults.DELIVER_FAULTS),
) -> Plan:
    """A plan for this number of jobs, about as long as they render unless `minutes` is given.

    `kinds` are the faults that can be injected on our side; they change nothing else in the plan.
    """
    luck = random.Random(f"chaos:{seed}")  # noqa: S311 - not for secrets
    if scenario.breaks_outputs:
        return _draw_outputs_plan(luck, seed, jobs=jobs, minutes=minutes)
    is_long = jobs >= LONG_RUN_JOBS
    has_outage = is_long and scenario.breaks_provider
    by_jobs = 8 + jobs * (SECONDS_PER_JOB if is_long else SHORT_SECONDS_PER_JOB)
    seconds = minutes * 60 if minutes else by_jobs + (OUTAGE_SECONDS if has_outage else 0)
    # A restore loses, by design, every job pushed after the copy; so all jobs are pushed before it.
    moments = _draw_moments(luck, jobs, seconds=0 if scenario.restores else seconds)
    pushes = _draw_pushes(luck, jobs, moments=moments, kills=scenario.breaks_processes)
    drawn = _draw_own(luck, seconds, _list_own(scenario), is_long=is_long) if scenario.breaks_processes else []
    if scenario.breaks_provider:
        drawn += _draw_providers(luck, seconds, is_long=is_long)
    if has_outage:
        begins = max(0.0, luck.uniform(0.4, 0.8) * (seconds - OUTAGE_SECONDS))
        drawn.append(Fault(begins, faults.MINUTE_OUTAGE, OUTAGE_SECONDS, faults.PROVIDER_FAULTS["outage"]))
    possible = set(kinds)
    chosen = tuple(sorted(each for each in drawn if each.rule is not None or each.kind in possible))
    lag = LAG_SECONDS if is_long or scenario.always_lags else SHORT_LAG_SECONDS
    always = scenario.always | {"list_lag": {"probability": LAG_PROBABILITY, "delay": lag}}
    restore = None
    if scenario.restores and faults.RESTORE in possible:
        # The copy holds some of the purchases, lacks many, and some are made after the restore.
        restore = Restore(luck.uniform(0.05, 0.3), luck.uniform(0.3, 0.9))
    how = {"pushes_singly": scenario.pushes_singly, "calls_back": scenario.calls_back}
    return Plan(seed, seconds, pushes, chosen, always, lag, restore, **how)


def _list_own(scenario: Scenario) -> tuple[str, ...]:
    """The faults of our own side that the scenario draws from."""
    if scenario.calls_back:
        return faults.CALLBACK_FAULTS
    return faults.PUSH_FAULTS if scenario.pushes_singly else tuple(faults.OWN_FAULTS)


def _draw_outputs_plan(luck: random.Random, seed: int, *, jobs: int, minutes: float | None) -> Plan:
    """Only the output host fails. A batch is pushed during each kind of failure, so that each one meets new files."""
    drawn, seconds = _draw_outputs(luck)
    scale = minutes * 60 / seconds if minutes else 1.0
    scaled = tuple(replace(each, at=each.at * scale, seconds=each.seconds * scale) for each in drawn)
    during = [each.at + luck.uniform(0, 0.4) * each.seconds for each in scaled[1:]]
    moments = [0.0, *sorted(luck.sample(during, min(jobs - 1, len(during))))]
    pushes = _draw_pushes(luck, jobs, moments=moments, kills=False)
    return Plan(seed, seconds * scale, pushes, scaled, {}, SHORT_LAG_SECONDS, hastens=False)


def _draw_outputs(luck: random.Random) -> tuple[list[Fault], float]:
    """Each kind of failure once, and the end of the last one. A gap separates two of the same kind."""
    drawn: list[Fault] = []
    at = 0.0
    for kind, rule, span in luck.sample(faults.OUTPUT_FAULTS, len(faults.OUTPUT_FAULTS)):
        if drawn and (drawn[-1].kind == kind or luck.random() < GAP_PROBABILITY):
            at += luck.uniform(*faults.OUTPUT_GAP)
        drawn.append(Fault(at, kind, luck.uniform(*span), rule))
        at += drawn[-1].seconds
    return drawn, at


def _draw_moments(luck: random.Random, jobs: int, *, seconds: float) -> list[float]:
    parts = max(1, min(12, jobs // 8))
    return [0.0, *sorted(luck.uniform(0, seconds * 0.7) for _ in range(parts - 1))]


def _draw_pushes(luck: random.Random, jobs: int, *, moments: list[float], kills: bool) -> tuple[Push, ...]:
    """The jobs in equal batches, one at each moment."""
    parts = len(moments)
    sizes = [jobs // parts + (1 if part < jobs % parts else 0) for part in range(parts)]
    return tuple(
        Push(at, number, _make_prompts(number, size), luck.uniform(0.002, 0.08) if kills and number % 2 else None)
        for number, (at, size) in enumerate(zip(moments, sizes, strict=True))
    )


def _make_prompts(number: int, size: int) -> tuple[str, ...]:
    return tuple(f"take {number}-{job - (job % TWIN_EVERY == TWIN_EVERY - 1)}" for job in range(size))


def _draw_own(luck: random.Random, seconds: float, kinds: Iterable[str], *, is_long: bool) -> list[Fault]:
    """A fault every few seconds; no long freeze at the end, since it would only be a wait."""
    dealt = _deal(luck, [*kinds], seconds, every=OWN_EVERY if is_long else SHORT_OWN_EVERY)
    spans = faults.OWN_FAULTS | faults.DELIVER_FAULTS
    drawn = [Fault(at, kind, luck.uniform(*spans[kind])) for at, kind in dealt]
    return [each for each in drawn if each.seconds < 20 or each.at + 10 < seconds]


def _draw_providers(luck: random.Random, seconds: float, *, is_long: bool) -> list[Fault]:
    kinds = [each for each in faults.PROVIDER_FAULTS if is_long or each not in faults.LONG_RUNS_ONLY]
    dealt = _deal(luck, kinds, seconds, every=PROVIDERS_EVERY if is_long else SHORT_PROVIDERS_EVERY)
    return [
        Fault(
            at,
            kind,
            luck.uniform(1, 3) if kind in faults.WHOLE_ACCOUNT else luck.uniform(3, 8),
            faults.PROVIDER_FAULTS[kind],
        )
        for at, kind in dealt
    ]


def _deal(luck: random.Random, kinds: list[str], seconds: float, *, every: float) -> list[tuple[float, str]]:
    """Draw kinds like cards from a shuffled pack, so that each kind occurs about equally often."""
    dealt: list[tuple[float, str]] = []
    hand: list[str] = []
    at = 1.0
    while at < seconds:
        hand = hand or luck.sample(kinds, len(kinds))
        dealt.append((at, hand.pop()))
        at += luck.uniform(0.3, 1.7) * every
    return dealt
