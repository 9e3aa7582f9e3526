"""Forecasts from the rows: when a batch or a job will end, and the progress of a job."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum, auto
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy.orm import Session

from models import Job, JobState, Prediction, PredictionState, queries
from models.db.session import Sessions, transaction
from models.lifecycle import is_ended
from models.queries.forecasting import Capacity, Recent, RunningRenders, WaitingJobs, Whose
from models.transitions.admission import RATE_WINDOW
from rushes.account_status import find_account_status
from rushes.forecasting.simulation import ActiveGroup, Forecast, Outlook, QueuedGroup, forecast
from rushes.forecasting.time_left import TimeLeft, add_time_left, render_time_left, share_done
from rushes.render_times.learned import UNKNOWN_OUTPUT_SECONDS, RenderKind, RenderTimes
from rushes.render_times.poll_spacing import LogNormal, RenderTime
from rushes.settings import Settings
from rushes.timing import Every

REFRESH_SECONDS = 10.0
LEARN_SECONDS = 60.0
"""The greatest age of the learned render times when a render is forecast without a query."""
STORE_SECONDS, STORE_SIGMA = 2.0, 0.8
"""The prior for the time to store a video, before any was seen."""
UNSEEN_RENDERS = 20
"""Successful renders added to the count when the share of failed renders is estimated."""
MOST_REPEATED = 0.5


class UnknownReason(StrEnum):
    """Why there is no forecast."""

    NO_DISPATCHER = auto()  # there is no leader, so no job makes progress
    PAUSED = auto()  # submissions are due, and the account takes none until the pause ends
    JOB_PAUSED = auto()  # a person has paused some of these jobs
    UNDECIDED = auto()  # an unconfirmed submission waits for a person
    NO_CREDIT = auto()  # as for a pause, until the account is topped up
    KEY_REJECTED = auto()  # the provider rejects the key: nothing is submitted, and no render is seen to end
    PROVIDER_UNREACHABLE = auto()  # the same, until the provider answers
    STORE_UNUSABLE = auto()  # no video could be stored, so nothing is submitted
    SPENDING_CAP = auto()  # the queue up to the last of these jobs costs more than the daily cap leaves


@dataclass(frozen=True, slots=True)
class ForecastResult:
    """When the last of some jobs will end, or why this is unknown. Both are None if all have ended."""

    forecast: Forecast | None = None
    unknown: UnknownReason | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """The share of a job that is done, from 0 to 1, and the time left; None if unknown, with the reason."""

    share: float | None = None
    time_left: TimeLeft | None = None
    unknown: UnknownReason | None = None


class Forecaster:
    """Forecasts the time left from the rows and the learned render times. Safe to use from several threads.

    There is no forecast while no dispatcher leads, because no job makes progress. Nor is there one for jobs whose wait
    has no known end: while the account is stopped, while they exceed the daily spending cap, or until a person decides
    about an unconfirmed submission.
    """

    def __init__(self, settings: Settings, *, account: str) -> None:
        self._render_times = RenderTimes(settings)
        self._account = account
        self._refreshing, self._learning = Every(REFRESH_SECONDS), Every(LEARN_SECONDS)
        self._store_time: RenderTime = LogNormal(STORE_SECONDS, STORE_SIGMA)
        self._lock = threading.Lock()

    def learn(self, sessions: Sessions) -> None:
        """Refresh the data that `forecast_render` uses, unless that was done in the last minute."""
        with self._lock:
            if not self._learning.begin_if_due(time.monotonic()):
                return
        with transaction(sessions) as session:
            self._render_times.refresh(session)
            self._store_time = _find_store_time(queries.forecasting.find_recent(session))

    def forecast_render(self, video_model: str, values: Mapping[str, Any]) -> TimeLeft:
        """Forecast the time from now until a render that starts now is stored, from the last learned data.

        Runs no query. From the second render of a kind on it takes microseconds.
        """
        return _forecast_time_left(self._render_times.find(video_model, values), 0.0, self._store_time)

    def forecast(self, session: Session, whose: Whose, *, as_if_resumed: bool = False) -> ForecastResult:
        """Forecast when the last of these jobs will end, or return why this is unknown.

        `as_if_resumed` assumes that a pause ends now, and counts an unconfirmed submission waiting for a person as a
        render. The true end is then no sooner than the forecast. The same rows give the same forecast, because the id
        of the batch or job seeds the random numbers.
        """
        capacity = self._find_capacity(session)
        if capacity is None:
            return ForecastResult(unknown=UnknownReason.NO_DISPATCHER)
        live = queries.forecasting.list_running(session, whose)
        outlook = self._read_outlook(session, whose, capacity, live=live)
        if not as_if_resumed and (unknown := self._find_block(session, whose, outlook, live=live)):
            return ForecastResult(unknown=unknown)
        named = whose.batch_id or whose.job_id
        assert named is not None  # noqa: S101 - the query names a batch or a job
        return ForecastResult(forecast(outlook, seed=named.int))

    def _find_block(
        self, session: Session, whose: Whose, outlook: Outlook, *, live: list[RunningRenders]
    ) -> UnknownReason | None:
        """Return why the end of these jobs cannot be forecast; None if it can."""
        status = find_account_status(session, self._account)
        waits = any(each.ours for each in outlook.waiting)
        runs = any(each.ours for each in outlook.running)
        if (status.stops_submissions and waits) or (status.stops_checks and runs):
            return UnknownReason(status.condition.value)
        if queries.waiting.has_paused(session, whose):
            return UnknownReason.JOB_PAUSED
        if any(each.undecided and each.ours for each in live):
            return UnknownReason.UNDECIDED
        if waits and queries.forecasting.exceeds_cap(session, self._account, whose):
            return UnknownReason.SPENDING_CAP
        return None

    def forecast_push(self, session: Session, jobs: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[TimeLeft, ...]:
        """Forecast when the first and the last of these jobs would end if they were pushed now.

        A job is a video model and its input. Empty without a dispatcher, and while submissions are stopped.
        """
        capacity = self._find_capacity(session)
        if capacity is None or find_account_status(session, self._account).stops_submissions:
            return ()
        nobody = Whose()
        queue = self._read_outlook(session, nobody, capacity, live=queries.forecasting.list_running(session, nobody))
        kinds = Counter(self._render_times.find(*job) for job in jobs)
        first = QueuedGroup(kinds=((self._render_times.find(*jobs[0]), 1),), ours=True)
        groups = (first, QueuedGroup(kinds=tuple(kinds.items()), ours=True))
        found = [forecast(replace(queue, waiting=(*queue.waiting, group)), seed=0) for group in groups]
        return tuple(each.time_left for each in found if each is not None)

    def find_progress(self, session: Session, job: Job, live: Prediction | None) -> Progress:
        """Return the progress of a job. `live` is its prediction without an outcome, or the one being stored."""
        if is_ended(JobState(job.state)):
            return Progress(1.0 if job.state == JobState.SUCCEEDED else None)
        if job.state == JobState.QUEUED or live is None:
            found = self.forecast(session, Whose(job_id=job.id))
            return Progress(0.0, found.forecast.time_left if found.forecast else None, found.unknown)
        capacity = self._find_capacity(session)
        if capacity is None:
            return Progress(unknown=UnknownReason.NO_DISPATCHER)
        if live.state == PredictionState.UNCONFIRMED and live.due_at is None:
            return Progress(unknown=UnknownReason.UNDECIDED)
        store_time = _find_store_time(queries.forecasting.find_recent(session))
        begun_at = live.accepted_at or live.posted_at
        status = find_account_status(session, self._account)
        if status.stops_submissions and begun_at is None:
            return Progress(0.0, unknown=UnknownReason(status.condition.value))
        if status.stops_checks and job.state == JobState.RENDERING:
            return Progress(unknown=UnknownReason(status.condition.value))
        age = _count_seconds(begun_at, capacity.now)
        if job.state == JobState.STORING:
            left = render_time_left(store_time, _count_seconds(live.ended_at, capacity.now))
        else:
            left = _forecast_time_left(self._render_times.find(job.video_model, job.input), age, store_time)
            wait = 0.0 if begun_at else capacity.back_off_seconds
            left = add_time_left(TimeLeft(wait, wait, wait), left)
        return Progress(share_done(age, left.expected_seconds), left)

    def _find_capacity(self, session: Session) -> Capacity | None:
        """Return the account's capacity, or None if no dispatcher leads."""
        capacity = queries.forecasting.find_capacity(session, self._account, rate_window=RATE_WINDOW)
        if capacity is None or not capacity.led:
            return None
        with self._lock:
            is_due = self._refreshing.begin_if_due(time.monotonic())
        if is_due:
            self._render_times.refresh(session)
        return capacity

    def _read_outlook(
        self, session: Session, whose: Whose, capacity: Capacity, *, live: list[RunningRenders]
    ) -> Outlook:
        recent = queries.forecasting.find_recent(session)
        store_time = _find_store_time(recent)
        # A submission that is not yet posted has a slot, but starts only when the account takes submissions.
        waits = capacity.paused or capacity.back_off_seconds > 0
        held = [self._as_held(each) for each in live if waits and not each.posted]
        running = [self._as_running(each) for each in live if each.posted or not waits]
        storing = tuple(
            ActiveGroup(
                render_time=store_time, age_seconds=max(0.0, each.age_seconds), renders=each.jobs, ours=each.ours
            )
            for each in queries.forecasting.list_storing(session, whose)
        )
        waiting = groupby(queries.forecasting.list_waiting(session, whose), key=attrgetter("priority", "ours"))
        return Outlook(
            slots=capacity.slots,
            store_time=store_time,
            store_threads=capacity.store_threads,
            running=tuple(running),
            waiting=(*held, *(self._as_waiting([*alike], ours=ours) for (_, ours), alike in waiting)),
            storing=storing,
            submits_per_second=capacity.submits_per_minute / RATE_WINDOW.total_seconds(),
            submits_at_once=max(0, capacity.submits_per_minute - capacity.submitted),
            delay_seconds=capacity.back_off_seconds,
            repeated=min(MOST_REPEATED, recent.failed / (recent.failed + recent.completed + UNSEEN_RENDERS)),
        )

    def _as_running(self, live: RunningRenders) -> ActiveGroup:
        return ActiveGroup(
            render_time=self._find_time(live.video_model, live.output_seconds),
            age_seconds=live.age_seconds,
            renders=live.renders,
            ours=live.ours,
            in_slot=live.in_slot,
        )

    def _as_held(self, live: RunningRenders) -> QueuedGroup:
        kind = self._find_time(live.video_model, live.output_seconds)
        return QueuedGroup(kinds=((kind, live.renders),), ours=live.ours)

    def _as_waiting(self, jobs: list[WaitingJobs], *, ours: bool) -> QueuedGroup:
        return QueuedGroup(
            kinds=tuple((self._find_time(each.video_model, each.output_seconds), each.jobs) for each in jobs), ours=ours
        )

    def _find_time(self, video_model: str, output_seconds: int | None) -> RenderTime:
        kind = RenderKind(video_model, UNKNOWN_OUTPUT_SECONDS if output_seconds is None else output_seconds)
        return self._render_times.find_of_kind(kind)


def _forecast_time_left(render_time: RenderTime, age_seconds: float, store_time: RenderTime) -> TimeLeft:
    return add_time_left(render_time_left(render_time, age_seconds), render_time_left(store_time, 0.0))


def _find_store_time(recent: Recent) -> RenderTime:
    seconds = STORE_SECONDS if recent.store_seconds is None else recent.store_seconds
    return LogNormal(float(f"{max(0.01, seconds):.1g}"), STORE_SIGMA)  # rounded: tables are kept for each value


def _count_seconds(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since) / timedelta(seconds=1)) if since else 0.0
