"""The calculation of the figures. Pure: standard library only, no clock, no I/O."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple


class Span(NamedTuple):
    """The true times of one task at the provider, in seconds since 1970."""

    task: str
    accepted: float
    started: float | None
    ended: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of one contestant under one load. None if there was nothing to measure."""

    renders: int
    unseen: float  # renders whose end the contestant never learned of
    seconds: float  # from the start to the last file
    known_seconds: float | None  # from the start until the contestant knew of the last render's end
    watching_requests: float  # polls and list pages, per render
    mean_delay: float | None  # seconds from the completion at the provider until the contestant knows
    p95_delay: float | None
    slot_share: float | None  # share of busy slots, from the first moment all were busy to the last submission
    most_unfinished: float  # most renders accepted and not ended at the same time
    requests: dict[str, float]  # per render, by kind
    cpu_ms: dict[str, float]  # per render, by kind of process
    memory_mb: dict[str, float]  # peak, by kind of process
    simulator_cores: float  # share of a core that the simulator used
    extra: dict[str, float] = field(default_factory=dict)  # figures specific to this contestant


def measure_slot_share(spans: Sequence[Span], slots: int) -> float | None:
    """The share of slots that were busy while a backlog existed.

    It is measured from the first moment at which all slots were busy (or, if they never all were, at which the most
    were) until the last task was accepted. None if the last task was accepted before.
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
    """The number of running renders after each moment at which one started or ended."""
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
    """Seconds from the end of each task until the client knew of it, in rising order.

    Both times are from this machine's clock. Tasks that the client never knew of are left out.
    """
    return sorted(known[span.task] - span.ended for span in spans if span.ended is not None and span.task in known)


def count_unseen(spans: Iterable[Span], known: Mapping[str, float]) -> int:
    """The number of tasks that ended without the client knowing."""
    return sum(span.ended is not None and span.task not in known for span in spans)


def find_percentile(rising: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of the values does not exceed; None if there are no values."""
    return rising[max(0, math.ceil(share * len(rising)) - 1)] if rising else None


def find_mean(values: Sequence[float]) -> float | None:
    """The mean; None if there are no values."""
    return math.fsum(values) / len(values) if values else None


def find_medians(runs: Sequence[Figures]) -> Figures:
    """The median over the runs for each figure, without the runs that lack the figure."""
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
