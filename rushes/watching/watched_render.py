"""One render that is watched: what a check of it is worth now, when a poll is, and the checks to be made."""

from dataclasses import dataclass
from typing import NamedTuple, Self
from uuid import UUID

from models.queries.watching.renders import Rendering
from rushes.render_times.check_plans import next_check_age
from rushes.render_times.learned import RenderKind, RenderTimes, find_kind
from rushes.render_times.poll_spacing import count_checks, discount_missing_webhook, resumed_spacing, worth_of_check

LONGEST_SPACING_SECONDS = 60.0
SHORTEST_STEP_SECONDS, STEP_OF_AGE = 0.2, 0.03
_LEAST_WORTH = 1e-9


@dataclass(frozen=True, slots=True)
class Poll:
    """A check of one render; `number` counts the checks under this leader."""

    prediction_id: UUID
    job_id: UUID
    claim: int
    number: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """A check of a page of the list: all that the provider created between two moments, in seconds since 1970."""

    created_after: float
    created_before: float
    number: int


class PollPlan(NamedTuple):
    """When the best schedule has the next poll, and what `weigh` says of it then."""

    at: float
    worth: float


@dataclass(slots=True)
class Watched:
    """What is known of a render, and tables of what checks of it are worth, drawn anew as it ages."""

    prediction_id: UUID
    job_id: UUID
    claim: int
    accepted_at: float  # all times but the provider's are by the monotonic clock
    created_at: float | None  # by the provider's clock; None: in no page that could be named
    watch_windows: int
    kind: RenderKind
    times: RenderTimes
    known_at: float  # it was still running then, by the check that was last asked for
    known_before: float  # the same of the check before
    due_at: float  # no check before
    poll_at: float  # no poll before ...
    early_poll_at: float  # ... and none for a hint
    early_check_at: float = float("-inf")  # by the database's clock
    is_live: bool = True
    checks: float = 0.0  # `count_checks` between `known_at` and `drawn_at` ...
    slope: float = 0.0  # ... and how fast it grows from then on, up to `redraw_at`
    discount: float = 1.0  # what is left of the worth, since no webhook has come
    drawn_at: float = 0.0
    redraw_at: float = float("-inf")
    plan: PollPlan | None = None

    @classmethod
    def begin(cls, rendering: Rendering, times: RenderTimes, *, now: float, is_met: bool) -> Self:
        """A render that is watched from now on. `is_met`: by a new leader, which may come after an outage."""
        age = max(0.0, rendering.age_seconds)  # after a failover the clock of the database may be behind
        known_at = now
        if is_met:  # a new leader knows of no check
            windows = rendering.watch_windows
            known_at = now - (resumed_spacing(windows).total_seconds() if windows else age)
        return cls(
            prediction_id=rendering.prediction_id,
            job_id=rendering.job_id,
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
        """After a poll at `now`: the next comes `shortest` seconds later at the earliest."""
        self.early_poll_at = self.poll_at = now + shortest
        if self.watch_windows:
            self.poll_at = max(self.poll_at, now + resumed_spacing(self.watch_windows).total_seconds())
        self.due_at = self.poll_at

    def weigh(self, now: float, *, delivered: float) -> float:
        """What a check that tells of now is worth, in seconds of delay; exact every 3 % of its age, linear between."""
        if now >= self.redraw_at:
            self._draw(now, delivered=delivered)
        return self.discount * worth_of_check(max(0.0, self.checks + self.slope * (now - self.drawn_at)))

    def plan_poll(self, *, price: float) -> PollPlan:
        """The next poll at this price, if nothing else checks it before; no shortest spacing is kept.

        The worth of a poll is that of any check, times what makes it the price when the plan has it.
        """
        if self.plan is None:
            render_time, known_age = self.times.find_of_kind(self.kind), self.known_at - self.accepted_at
            age = next_check_age(
                render_time,
                age=max(0.0, known_age),
                request_cost_seconds=price,
                shortest=0.0,
                longest=LONGEST_SPACING_SECONDS,
            )
            checks = count_checks(render_time, age) - count_checks(render_time, known_age)
            self.plan = PollPlan(self.accepted_at + age, max(_LEAST_WORTH, worth_of_check(checks)))
        return self.plan

    def note_running(self, at: float, *, delivered: float) -> None:
        """It was running then: nothing can have been missed before."""
        if at > self.known_at:
            self.known_before, self.known_at = self.known_at, at
            self._draw(at, delivered=delivered)

    def _draw(self, now: float, *, delivered: float) -> None:
        age, known_age = now - self.accepted_at, self.known_at - self.accepted_at
        step = max(SHORTEST_STEP_SECONDS, STEP_OF_AGE * age)
        render_time = self.times.find_of_kind(self.kind)
        checks = count_checks(render_time, age)
        self.checks = checks - count_checks(render_time, known_age)
        self.slope = (count_checks(render_time, age + step) - checks) / step
        self.discount = discount_missing_webhook(render_time, age=age, known_age=known_age, delivered=delivered)
        self.drawn_at, self.redraw_at = now, now + step
        self.plan = None


class PollCandidate(NamedTuple):
    """A render to be polled: by the best schedule of polls, or by the law where pages check it too."""

    watched: Watched
    by_plan: bool
