"""The simulation: waiting jobs take the first free slot, in their order, no faster than the rate limit allows.

It costs about the same for a queue of any length. Only the last jobs of a long queue are simulated. The jobs in front
of them count as one amount of work, done at the slots' average rate. This amount is normally distributed, because it is
a sum of many. Many slots are simulated as a few packs. The jobs of a pack begin together, and the end of its last job
is drawn as the maximum over its jobs.
"""

import math
import random
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from itertools import accumulate
from operator import itemgetter
from statistics import fmean

from rushes.forecasting.time_left import TimeLeft, as_time_left, measure, sample
from rushes.render_times.poll_spacing import RenderTime

RUNS = 200
SLOTS = 12
"""The most slots that are simulated one by one. More slots are grouped into packs."""
ROUNDS = 8
"""Jobs that each simulated slot takes. After this number, the renders that ran at first have no more effect."""
LOW, HIGH = 0.04, 0.96
"""Slightly more than nine in ten of the runs, because the runs are few and the simulation is simplified."""

_NEVER = [-math.inf] * RUNS
_GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples spread evenly, which mixes kinds of jobs in proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveGroup:
    """Renders of the same age, or videos that are being stored."""

    render_time: RenderTime
    age_seconds: float
    renders: int = 1
    ours: bool = True
    in_slot: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedGroup:
    """Jobs that wait at the same place in the queue: the number of each length, in no order."""

    kinds: tuple[tuple[RenderTime, int], ...]
    ours: bool = True

    @property
    def jobs(self) -> int:
        return sum(count for _, count in self.kinds)

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and variance of one job's length."""
        fresh = [(*measure(each), count) for each, count in self.kinds]
        mean = sum(mean * count for mean, _, count in fresh) / self.jobs
        square = sum((variance + mean**2) * count for mean, variance, count in fresh) / self.jobs
        return mean, square - mean * mean

    def pick(self, place: int) -> RenderTime:
        """Return the length of the job at this place in the queue."""
        goal = (place * _GOLDEN) % 1 * self.jobs
        for render_time, count in self.kinds:
            goal -= count
            if goal < 0:
                return render_time
        return self.kinds[-1][0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """All inputs of a forecast. `ours` marks the jobs that the forecast is about."""

    slots: int
    store_time: RenderTime
    store_threads: int = 1
    running: tuple[ActiveGroup, ...] = ()
    waiting: tuple[QueuedGroup, ...] = ()  # in the order of admission, up to the last of ours
    storing: tuple[ActiveGroup, ...] = ()
    submits_per_second: float = math.inf
    submits_at_once: int = 0  # rate slots that are free now
    delay_seconds: float = 0.0  # until the account takes submissions
    repeated: float = 0.0  # share of the renders that fail and are bought again


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the last of our jobs will end, in each of many simulations: seconds from now, ascending."""

    ends: tuple[float, ...]

    @property
    def time_left(self) -> TimeLeft:
        low, high = (self.ends[round(share * (len(self.ends) - 1))] for share in (LOW, HIGH))
        return as_time_left(fmean(self.ends), low, high)

    def chance_within(self, seconds: float) -> float:
        """Return the chance that all jobs end within `seconds`."""
        return bisect_right(self.ends, seconds) / len(self.ends)


def forecast(outlook: Outlook, *, seed: int) -> Forecast | None:
    """Forecast when the last of our jobs will end; None if there are none. The same seed gives the same forecast."""
    renders = any(each.ours for each in outlook.running) or any(each.ours for each in outlook.waiting)
    if not renders and not any(each.ours for each in outlook.storing):
        return None
    ends = [0.0] * RUNS
    if renders:
        dice = random.Random(seed)  # noqa: S311 - simulations are not secret
        ends = _play(_set_stage(outlook), outlook, dice)
    # Storing draws its own random numbers, so that two forecasts differ only by the jobs in the queue.
    return Forecast(tuple(sorted(_add_storing(ends, outlook, random.Random(seed + 1)))))  # noqa: S311 - as above


@dataclass(frozen=True, slots=True)
class _Pack:
    """Jobs that are simulated as one. `ours` is how many of them the forecast is about."""

    render_time: RenderTime
    ours: float
    age_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Stage:
    """The setup of the simulation: few slots, few packs, and the front of the queue as an amount of work."""

    slots: int
    pack: float  # slots, and jobs, that one simulated slot or job stands for
    running: list[_Pack]
    waiting: list[_Pack]
    gates: list[float]  # for each waiting pack, the earliest start that the rate limit allows
    front: tuple[float, float]  # seconds that the slots need for the front: mean and standard deviation
    front_gate: float  # seconds that the rate limit needs for the front


def _set_stage(outlook: Outlook) -> _Stage:
    slots = min(outlook.slots, SLOTS)
    pack = outlook.slots / slots
    running = _pack_running(outlook.running, pack)
    # Renders beyond the slots wait for a slot at the provider, before every job that waits here.
    early = [_Pack(each.render_time, each.ours) for each in running[slots:]]
    queued = sum(each.jobs for each in outlook.waiting)
    front = max(0, queued - math.floor(ROUNDS * SLOTS * pack))
    late = _pack_waiting(outlook.waiting, pack, front=front)
    places = (number * pack + 1 - outlook.submits_at_once for number in range(len(late)))
    gates = [outlook.delay_seconds + max(0.0, place / outlook.submits_per_second) for place in places]
    mean, deviation = _measure_front(outlook, front)
    return _Stage(
        slots=slots,
        pack=pack,
        running=running[:slots],
        waiting=early + late,
        gates=[0.0] * len(early) + gates,
        front=(mean, deviation),
        front_gate=front / outlook.submits_per_second,
    )


def _pack_running(running: Sequence[ActiveGroup], pack: float) -> list[_Pack]:
    """Return the renders in slots, oldest first, one for each `pack` of them."""
    packs: list[_Pack] = []
    place = 0.0
    for each in sorted(running, key=lambda each: -each.age_seconds):
        if not each.in_slot:
            continue
        place += each.renders / pack
        missing = round(place) - len(packs)
        packs += [_Pack(each.render_time, each.ours, each.age_seconds)] * missing
    return packs


def _pack_waiting(waiting: Sequence[QueuedGroup], pack: float, *, front: int) -> list[_Pack]:
    """Return the queue after its front in packs, each with the number of our jobs in it."""
    ends = [*accumulate(each.jobs for each in waiting)]
    packs: list[_Pack] = []
    place = float(front)
    while ends and place < ends[-1]:
        until = min(place + pack, ends[-1])
        inside = [
            (min(until, end) - max(place, end - each.jobs), each) for each, end in zip(waiting, ends, strict=True)
        ]
        ours = sum(size for size, each in inside if each.ours and size > 0)
        _, most = max(((size, each) for size, each in inside if each.ours or not ours), key=itemgetter(0))
        packs.append(_Pack(most.pick(len(packs)), ours))
        place = until
    return packs


def _measure_front(outlook: Outlook, front: int) -> tuple[float, float]:
    """Return the seconds that the slots need for the front: mean and standard deviation."""
    work = variance = 0.0
    left = front
    for each in outlook.waiting:
        count = min(left, each.jobs)
        mean, spread = each.moments
        work, variance, left = work + count * mean, variance + count * spread, left - count
    again = 1 / (1 - outlook.repeated)
    return work * again / outlook.slots, math.sqrt(variance * again) / outlook.slots


def _play(stage: _Stage, outlook: Outlook, dice: random.Random) -> list[float]:
    """Return when our last render ends, for each run."""
    running = [_draw(dice, each, outlook.repeated) for each in stage.running]
    lengths = [_draw(dice, each, outlook.repeated) for each in stage.waiting]
    latest = lengths if stage.pack == 1 else [_draw_latest(dice, each, outlook.repeated) for each in stage.waiting]
    latest = [late if each.ours else _NEVER for each, late in zip(stage.waiting, latest, strict=True)]
    already = _end_running(stage, outlook, running=running, dice=dice)
    ends, begun = [0.0] * RUNS, [0.0] * RUNS
    columns = zip(_by_run(running), _by_run(lengths), _by_run(latest), strict=True)
    for run, (busy, lasts, lates) in enumerate(columns):
        free = [*busy, *(0.0 for _ in range(stage.slots - len(busy)))]
        heapify(free)
        end = begin = 0.0
        for gate, length, late in zip(stage.gates, lasts, lates, strict=True):
            begin = max(gate, free[0])
            heapreplace(free, begin + length)
            end = max(end, begin + late)
        ends[run], begun[run] = end, begin
    return [max(pair) for pair in zip(already, _extend(ends, begun, stage=stage, dice=dice), strict=True)]


def _by_run(columns: list[list[float]]) -> Iterable[tuple[float, ...]]:
    return zip(*columns, strict=True) if columns else [()] * RUNS


def _extend(ends: list[float], begun: list[float], *, stage: _Stage, dice: random.Random) -> list[float]:
    """Add the front. With many slots, the start of the last job varies less than with the few simulated ones."""
    middle = fmean(begun)
    calmer = 1 / math.sqrt(stage.pack) - 1
    mean, deviation = stage.front
    fronts = [max(stage.front_gate, dice.gauss(mean, deviation)) for _ in ends] if mean else [0.0] * RUNS
    return [front + end + (begin - middle) * calmer for front, end, begin in zip(fronts, ends, begun, strict=True)]


def _end_running(stage: _Stage, outlook: Outlook, *, running: list[list[float]], dice: random.Random) -> list[float]:
    """Return when our last running render ends, for each run."""
    alone = stage.pack == 1
    columns = [column for each, column in zip(stage.running, running, strict=True) if alone and each.ours]
    for each in outlook.running:
        if each.ours and not (alone and each.in_slot):
            pack = _Pack(each.render_time, each.renders, each.age_seconds)
            columns.append(_draw_latest(dice, pack, outlook.repeated))
    return [max(column, default=0.0) for column in _by_run(columns)]


def _add_storing(ends: list[float], outlook: Outlook, dice: random.Random) -> list[float]:
    """Add the time to store the videos. Each is stored after its render, at most one per store thread at a time."""
    videos = sum(each.renders for each in (*outlook.running, *outlook.storing))
    videos += sum(each.jobs for each in outlook.waiting)
    least = videos * measure(outlook.store_time)[0] / max(1, outlook.store_threads)
    lasts = sample(dice, outlook.store_time, runs=RUNS)
    stored = [max(least, end + last) if end else 0.0 for end, last in zip(ends, lasts, strict=True)]
    for each in outlook.storing:
        if each.ours:
            latest = _draw_latest(dice, _Pack(each.render_time, each.renders, each.age_seconds), 0.0)
            stored = [max(pair) for pair in zip(stored, latest, strict=True)]
    return stored


def _draw(dice: random.Random, pack: _Pack, repeated: float) -> list[float]:
    """Draw the time left of a pack for each run, including renders that fail and are rendered again."""
    lengths = sample(dice, pack.render_time, pack.age_seconds, runs=RUNS)
    if not repeated:
        return lengths
    more = sample(dice, pack.render_time, runs=RUNS)
    return [length + (again if dice.random() < repeated else 0.0) for length, again in zip(lengths, more, strict=True)]


def _draw_latest(dice: random.Random, pack: _Pack, repeated: float) -> list[float]:
    """Draw the same for the last of our jobs in the pack."""
    latest = sample(dice, pack.render_time, pack.age_seconds, of=pack.ours, runs=RUNS)
    if not (repeated and pack.ours):
        return latest
    chance = 1 - (1 - repeated) ** pack.ours
    first = sample(dice, pack.render_time, pack.age_seconds, runs=RUNS)
    again = sample(dice, pack.render_time, of=max(1.0, repeated * pack.ours), runs=RUNS)
    return [
        max(late, one + other) if dice.random() < chance else late
        for late, one, other in zip(latest, first, again, strict=True)
    ]
