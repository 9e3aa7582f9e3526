"""How long renders take: the only interface to the learned render times.

Age counts from the moment we knew that the provider had accepted the render. It includes any wait in the provider's
own queue, because checks count the same way. We learn only from completions: many quick failures say nothing about
render times.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models import queries
from models.queries.watching.render_times import CompletedRender
from models.transitions.watching.finished_renders import NewFinishedRender, record_finished
from rushes.catalog import find_video_model
from rushes.render_times.estimator import WINDOW, Finished, RunningRender, learn_render_time
from rushes.render_times.poll_spacing import RenderTime, prior_for
from rushes.settings import Settings

UNKNOWN_OUTPUT_SECONDS = 6
"""For inputs older than a change of the catalogue, and for video models that it does not contain."""
KEPT = 1_000
"""Finished renders kept per kind. More than we learn from, so that the age of the window's end is known."""
NEWEST = 2_000
"""The most completions read at once: ten seconds at 200 per second. The next refresh reads the rest."""
MOST_SEEN = 20_000
"""The most renders that `Sightings` remembers. Beyond this, the one noted first is dropped."""
_SHARE_NEW = 0.1  # a table of checks costs milliseconds, and one render in four hundred changes nothing
_REST_SECONDS = 60.0  # after this, even the smallest change counts, and so do renders in flight


class RenderKind(NamedTuple):
    """Renders that take similar times. Lengths are rounded to whole seconds."""

    video_model: str
    output_seconds: int


def find_kind(video_model: str, values: Mapping[str, Any]) -> RenderKind:
    """Return the kind of a render from its normalised input."""
    model = find_video_model(video_model)
    try:
        seconds = round(model.output_seconds(values)) if model else UNKNOWN_OUTPUT_SECONDS
    except KeyError:
        seconds = UNKNOWN_OUTPUT_SECONDS
    return RenderKind(video_model, seconds)


class _Belief(NamedTuple):
    render_time: RenderTime
    newest: UUID | None  # finished render
    at: float  # by the monotonic clock


class RenderTimes:
    """The estimated render time of each kind: the prior, until something has been learned.

    The results of `find` and `find_of_kind` may change with every `refresh`, so call them again instead of keeping a
    result. Safe to use from several threads.
    """

    def __init__(self, settings: Settings) -> None:
        self._median_seconds = settings.render_median_seconds
        self._shortest = settings.poll_shortest_seconds
        self._beliefs: dict[RenderKind, _Belief] = {}
        self._refreshing = threading.Lock()

    def find(self, video_model: str, values: Mapping[str, Any]) -> RenderTime:
        """Return the render time for this normalised input, from our acceptance to completion."""
        return self.find_of_kind(find_kind(video_model, values))

    def find_of_kind(self, kind: RenderKind) -> RenderTime:
        """Return the same by kind."""
        belief = self._beliefs.get(kind)
        return belief.render_time if belief else self._find_prior(kind)

    def refresh(self, session: Session, *, records: bool = False) -> None:
        """Learn from the renders since the last refresh, unless another thread does.

        Costs three statements, and some milliseconds for each kind with much new data. The leader also sets `records`,
        which inserts the missing finished renders for completions, in the caller's transaction.
        """
        if not self._refreshing.acquire(blocking=False):
            return
        try:
            self._learn(session, records=records)
        finally:
            self._refreshing.release()

    def _learn(self, session: Session, *, records: bool) -> None:
        completed = queries.render_times.list_completed(session, count=NEWEST)
        new = {each.prediction_id: self._read_completed(each) for each in completed}
        if records and new:
            record_finished(session, list(new.values()), keep=KEPT)
        finished = defaultdict[RenderKind, list[tuple[Finished, UUID]]](list)
        for each in reversed(completed):
            read = new[each.prediction_id]
            seen = Finished(each.ago_seconds, read.low_seconds, read.high_seconds)
            finished[RenderKind(read.video_model, read.output_seconds)].append((seen, each.prediction_id))
        for known in queries.render_times.list_finished(session, count=WINDOW + 1):
            if known.prediction_id not in new:
                seen = Finished(known.ago_seconds, known.low_seconds, known.high_seconds)
                kind = RenderKind(known.video_model, known.output_seconds)
                finished[kind].append((seen, known.prediction_id))
        running = defaultdict[RenderKind, list[RunningRender]](list)
        for group in queries.render_times.count_running(session):
            kind = find_kind(group.video_model, group.values)
            running[kind].append(RunningRender(group.age_seconds, group.renders))
        for kind in finished.keys() | running.keys():
            self._believe(kind, finished[kind], running[kind])

    def _believe(self, kind: RenderKind, finished: list[tuple[Finished, UUID]], running: list[RunningRender]) -> None:
        known, now = self._beliefs.get(kind), time.monotonic()
        if known is not None and now - known.at < _REST_SECONDS:
            ids = [each for _, each in finished]
            news = ids.index(known.newest) if known.newest in ids else len(ids)
            if news <= _SHARE_NEW * min(len(ids), WINDOW):
                return
        ordered = sorted(seen for seen, _ in finished)
        render_time = learn_render_time(self._find_prior(kind), ordered, running)
        self._beliefs[kind] = _Belief(render_time, finished[0][1] if finished else None, now)

    def _find_prior(self, kind: RenderKind) -> RenderTime:
        return prior_for(kind.video_model, kind.output_seconds, median_seconds=self._median_seconds)

    def _read_completed(self, completed: CompletedRender) -> NewFinishedRender:
        """Return the ages between which the render finished.

        It was still running when it was last seen running, and for as long as the provider says that it executed.
        `executionTime` may omit a wait in the provider's queue, so it is only a lower bound. If neither is known, we
        assume the shortest spacing between checks, because checks are at least that far apart.
        """
        high = max(0.0, completed.age_seconds)
        known = [each for each in (completed.running_seconds, completed.execution_seconds) if each is not None]
        low = max(known) if known else high - self._shortest
        kind = find_kind(completed.video_model, completed.values)
        return NewFinishedRender(
            prediction_id=completed.prediction_id,
            video_model=kind.video_model,
            output_seconds=kind.output_seconds,
            ended_at=completed.ended_at,
            low_seconds=min(max(0.0, low), high),
            high_seconds=high,
        )


class Sightings:
    """When the polls of this process last saw each render running or queued. In memory, so it costs no writes.

    Another process may have seen a render later, and a new process has seen nothing. So these ages are lower bounds,
    like all data that render times are learned from. Safe to use from several threads.
    """

    def __init__(self, *, most: int = MOST_SEEN) -> None:
        self._most = most
        self._seen: dict[UUID, float] = {}  # monotonic seconds
        self._lock = threading.Lock()

    def note_running(self, prediction_id: UUID, *, asked_at: float) -> None:
        """Note that a render was running at this monotonic second, when we asked. The answer's time does not matter."""
        with self._lock:
            self._seen.pop(prediction_id, None)
            self._seen[prediction_id] = asked_at
            if len(self._seen) > self._most:
                del self._seen[next(iter(self._seen))]

    def end(self, prediction_id: UUID) -> timedelta | None:
        """Return how long ago this process last saw the render running, and forget the render."""
        with self._lock:
            seen_at = self._seen.pop(prediction_id, None)
        return timedelta(seconds=time.monotonic() - seen_at) if seen_at is not None else None
