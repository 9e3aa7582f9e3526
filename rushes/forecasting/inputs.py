"""The inputs of a forecast: the slots, the running renders, the queue before our jobs, the rate limit, and storing."""

import math
from dataclasses import dataclass

from rushes.forecasting.time_left import measure
from rushes.render_times.poll_spacing import RenderTime

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
