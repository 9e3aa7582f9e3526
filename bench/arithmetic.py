"""What figures are made of. Pure: standard library only, no clock, no I/O."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple


class Span(NamedTuple):
    """What really happened to one task at the provider, in seconds since 1970."""

    task: str
    accepted: float
    started: float | None
    ended: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one contestant came to under one load. None where there was nothing to measure."""

    renders: int
    unseen: float  # renders that ended and were never known
    seconds: float  # from the order to the last file
    known_seconds: float | None  # from the order until the last render was known to have ended
    watching_requests: float  # checks, single ones and list pages, per render
    mean_delay: float | None  # seconds from the provider's completion to our knowing
    p95_delay: float | None
    slot_share: float | None  # of the slots, busy from the first moment all were to the last submission
    most_unfinished: float  # accepted and not ended, at the same time
    requests: dict[str, float]  # per render, by kind
    cpu_ms: dict[str, float]  # per render, by kind of process
    memory_mb: dict[str, float]  # at most at the same time, by kind of process
    simulator_cores: float  # how much of a core the simulator took
    extra: dict[str, float] = field(default_factory=dict)  # what only this contestant has


def measure_slot_share(spans: Sequence[Span], slots: int) -> float | None:
    """Which share of the slots was busy while a backlog existed.

    From the first moment at which all slots were busy (as many as ever were, where never all were) until the last
    task was accepted. None where the last one was accepted before.
    """
    steps = _count_running(spans)
    if not steps:
        return None
    peak = max(running for _, running in steps)
    first = next(moment for moment, running in steps if running >= min(slots, peak))
    last = max(span.accepted for span in spans)
    if last <= first:
        return None
    inside = [(first, 0), *((moment, running) for moment, running in steps if first <= moment <= last)]
    edges = [*inside, (last, inside[-1][1])]
    busy = math.fsum(running * (later - earlier) for (earlier, running), (later, _) in pairwise(edges))
    return busy / (slots * (last - first))


def _count_running(spans: Iterable[Span]) -> list[tuple[float, int]]:
    """After each moment at which something started or ended: how many were running then."""
    changes: dict[float, int] = {}
    for span in spans:
        if span.started is not None:
            changes[span.started] = changes.get(span.started, 0) + 1
        if span.started is not None and span.ended is not None:
            changes[span.ended] = changes.get(span.ended, 0) - 1
    running, steps = 0, []
    for moment in sorted(changes):
        running += changes[moment]
        steps.append((moment, running))
    return steps


def measure_delays(spans: Iterable[Span], known: Mapping[str, float]) -> list[float]:
    """Seconds from the end of each task to the moment at which the client knew of it, in rising order.

    Both clocks are this machine's. Tasks of which the client never knew are left out.
    """
    return sorted(known[span.task] - span.ended for span in spans if span.ended is not None and span.task in known)


def count_unseen(spans: Iterable[Span], known: Mapping[str, float]) -> int:
    """How many tasks ended and were never known."""
    return sum(span.ended is not None and span.task not in known for span in spans)


def find_percentile(rising: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of the values does not exceed; None of no values."""
    return rising[max(0, math.ceil(share * len(rising)) - 1)] if rising else None


def find_mean(values: Sequence[float]) -> float | None:
    """The mean; None of no values."""
    return math.fsum(values) / len(values) if values else None


def find_medians(runs: Sequence[Figures]) -> Figures:
    """Figure by figure the median over the runs; a run that has no such figure is left out."""
    return Figures(**_merge([asdict(run) for run in runs]))


def _merge(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: _find_median([run[name] for run in runs if run.get(name) is not None]) for name in names}


def _find_median(values: list[Any]) -> Any:
    if not values:
        return None
    if isinstance(values[0], Mapping):
        return _merge(values)
    return statistics.median(values)
