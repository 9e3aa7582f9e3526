"""One watched render: the worth of a check now, the time of its next poll, and the kinds of checks."""

from dataclasses import dataclass
from typing import Self
from uuid import UUID

from models.queries.watching.renders import Rendering
from rushes.render_times.learned import RenderKind, RenderTimes, find_kind
from rushes.render_times.poll_spacing import discount_missing_webhook, measure_growth, resumed_spacing, worth_of_check

LONGEST_SPACING_SECONDS = 60.0
SHORTEST_STEP_SECONDS, STEP_OF_AGE = 0.2, 0.05


@dataclass(frozen=True, slots=True)
class Poll:
    """A check of one render; `number` counts the checks under this leader."""

    prediction_id: UUID
    place: str  # BATCH/NUMBER of the job
    claim: int
    number: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """A check of a page of the list: all predictions created between two moments, in seconds since 1970."""

    created_after: float
    created_before: float
    number: int


@dataclass(slots=True)
class Watched:
    """The known facts about a render, and the worth of its checks, recomputed as it ages."""

    prediction_id: UUID
    place: str  # BATCH/NUMBER of the job
    claim: int
    accepted_at: float  # all times use the monotonic clock, unless stated otherwise
    created_at: float | None  # by the provider's clock; None: no page can be requested that shows it
    watch_windows: int
    kind: RenderKind
    times: RenderTimes
    known_at: float  # it was still running then, by the latest check requested
    known_before: float  # the same by the check before that one
    due_at: float  # no check before this
    poll_at: float  # no poll before this ...
    early_poll_at: float  # ... and no early check before this
    early_check_at: float = float("-inf")  # by the database's clock
    is_live: bool = True
    checks: float = 0.0  # `count_checks` between `known_at` and `drawn_at` ...
    slope: float = 0.0  # ... and how fast it grows from then on, up to `redraw_at`
    discount: float = 1.0  # factor on the worth, because no webhook has come
    drawn_at: float = 0.0
    redraw_at: float = float("-inf")

    @classmethod
    def begin(cls, rendering: Rendering, times: RenderTimes, *, now: float, is_met: bool) -> Self:
        """Start to watch a render. `is_met`: a new leader takes it over, maybe after an outage."""
        age = max(0.0, rendering.age_seconds)  # after a failover the database's clock may be behind
        known_at = now
        if is_met:  # a new leader does not know of any check
            windows = rendering.watch_windows
            known_at = now - (resumed_spacing(windows).total_seconds() if windows else age)
        return cls(
            prediction_id=rendering.prediction_id,
            place=rendering.place,
            claim=rendering.claim,
            accepted_at=now - age,
            created_at=rendering.provider_created_at,
            watch_windows=rendering.watch_windows,
            kind=find_kind(rendering.video_model, rendering.values),
            times=times,
            known_at=known_at,
            known_before=known_at,
            due_at=now,
            poll_at=now,
            early_poll_at=now,
        )

    def space(self, now: float, *, shortest: float) -> None:
        """Space the polls: after one at `now`, the next comes `shortest` seconds later at the earliest."""
        self.early_poll_at = self.poll_at = now + shortest
        if self.watch_windows:
            self.poll_at = max(self.poll_at, now + resumed_spacing(self.watch_windows).total_seconds())
        self.due_at = self.poll_at

    def weigh(self, now: float, *, delivered: float) -> float:
        """Return the worth of a check that shows the state at `now`, in seconds of delay.

        The worth is exact every 5 % of the render's age, and linear in between.
        """
        if now >= self.redraw_at:
            self._draw(now, delivered=delivered)
        return self.discount * worth_of_check(max(0.0, self.checks + self.slope * (now - self.drawn_at)))

    def note_running(self, at: float, *, delivered: float) -> None:
        """Record that it was running at `at`: no earlier end can have been missed."""
        if at > self.known_at:
            self.known_before, self.known_at = self.known_at, at
            self._draw(at, delivered=delivered)

    def _draw(self, now: float, *, delivered: float) -> None:
        age, known_age = now - self.accepted_at, self.known_at - self.accepted_at
        step = max(SHORTEST_STEP_SECONDS, STEP_OF_AGE * age)
        render_time = self.times.find_of_kind(self.kind)
        self.checks, self.slope = measure_growth(render_time, known_age=known_age, age=age, step=step)
        self.discount = discount_missing_webhook(render_time, age=age, known_age=known_age, delivered=delivered)
        self.drawn_at, self.redraw_at = now, now + step
