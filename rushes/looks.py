"""When to look at which render: the leader's schedule, held in memory and rebuilt from rows."""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

from models.queries import Rendering
from rushes.polling import next_look_age, resumed_spacing
from rushes.render_times import RenderKind, RenderTimes, find_kind
from rushes.settings import Settings

LONGEST_SPACING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Look:
    """One look that is due; `number` counts the looks at this render under this leader."""

    prediction_id: UUID
    job_id: UUID
    claim: int
    number: int


@dataclass(slots=True)
class _Watched:
    job_id: UUID
    claim: int
    accepted_at: float  # by the monotonic clock
    watch_windows: int
    kind: RenderKind
    looks: int = 0
    next_at: float = 0.0  # entries of the heap for another time are left over from an earlier plan


class LookSchedule:
    """Spaces the looks at each render by the square-root law, by what is known of its kind.

    All times are monotonic seconds. A render that outlived a watch window is looked at on the slower schedule.
    """

    def __init__(self, settings: Settings, render_times: RenderTimes) -> None:
        self._settings = settings
        self._render_times = render_times
        self._watched: dict[UUID, _Watched] = {}
        self._heap: list[tuple[float, UUID]] = []

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, renderings: Iterable[Rendering], *, now: float) -> None:
        """Watch these renders; those known already keep their schedule, unless their claim has changed."""
        for rendering in renderings:
            known = self._watched.get(rendering.prediction_id)
            if known is not None and known.claim == rendering.claim:
                continue
            watched = _Watched(
                job_id=rendering.job_id,
                claim=rendering.claim,
                accepted_at=now - rendering.age_seconds,
                watch_windows=rendering.watch_windows,
                kind=find_kind(rendering.video_model, rendering.input),
            )
            self._watched[rendering.prediction_id] = watched
            self._plan(rendering.prediction_id, watched, now=now)

    def forget(self) -> None:
        """Drop everything: another leads now."""
        self._watched.clear()
        self._heap.clear()

    def find_next_at(self) -> float | None:
        """When the next look is due."""
        return self._heap[0][0] if self._heap else None

    def take_due(
        self, *, now: float, limit: int, find_rendering: Callable[[list[UUID]], dict[UUID, int]]
    ) -> list[Look]:
        """The looks to make now, at most `limit`, each render's next one planned.

        `find_rendering` tells which of the predictions still render, with their claims; the others are forgotten.
        """
        due: list[UUID] = []
        while self._heap and self._heap[0][0] <= now and len(due) < limit:
            at, prediction_id = heapq.heappop(self._heap)
            watched = self._watched.get(prediction_id)
            if watched is not None and watched.next_at == at:
                due.append(prediction_id)
        if not due:
            return []
        try:
            rendering = find_rendering(due)
        except Exception:
            for prediction_id in due:  # still due: what could not be asked for must not be forgotten
                heapq.heappush(self._heap, (self._watched[prediction_id].next_at, prediction_id))
            raise
        return [
            self._take(prediction_id, now=now)
            for prediction_id in dict.fromkeys(due)
            if self._is_current(prediction_id, rendering.get(prediction_id))
        ]

    def _is_current(self, prediction_id: UUID, claim: int | None) -> bool:
        if claim == self._watched[prediction_id].claim:
            return True
        del self._watched[prediction_id]
        return False

    def _take(self, prediction_id: UUID, *, now: float) -> Look:
        watched = self._watched[prediction_id]
        watched.looks += 1
        self._plan(prediction_id, watched, now=now)
        return Look(prediction_id, watched.job_id, watched.claim, watched.looks)

    def _plan(self, prediction_id: UUID, watched: _Watched, *, now: float) -> None:
        age = now - watched.accepted_at
        if watched.watch_windows:
            next_age = age + resumed_spacing(watched.watch_windows).total_seconds()
        else:
            next_age = next_look_age(
                self._render_times.find_of_kind(watched.kind),
                age=age,
                request_cost_seconds=self._settings.poll_cost_seconds,
                shortest=self._settings.poll_shortest_seconds,
                longest=LONGEST_SPACING_SECONDS,
            )
        watched.next_at = watched.accepted_at + next_age
        heapq.heappush(self._heap, (watched.next_at, prediction_id))
