"""The watchdog ends a worker that is alive and could work but does not, so that its supervisor restarts it.

A worker with a dead consumer still shows signs of life, and messages could stay in its queues for ever. Causes outside
the worker's control never count: servers that are away, threads busy with steps within their limits, empty queues, and
time in which the process itself was frozen.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import redis
import structlog

from models import queries
from models.db.errors import DatabaseAway
from models.db.session import transaction
from rushes.logs import flush_logs
from rushes.monitoring.broker import open_redis
from rushes.runtime import Runtime
from rushes.settings import Settings
from workers.supervision.running_tasks import Steps
from workers.tasks import is_shutting_down

EXIT_STUCK = 70
"""EX_SOFTWARE: every supervisor treats it as a failure."""

OBSERVATIONS_PER_LIMIT = 6
LONGEST_PAUSE_SECONDS = 10.0
FROZEN_PAUSES = 3
"""More than this many pauses between two checks mean that the process was frozen."""
REDIS_SECONDS = 5.0
STUCK_LIMITS = 5
"""A dispatcher's turn may take this many limits: only the time-outs of its consecutive statements bound it."""
LONG_STEP_SECONDS = 3_600.0
"""Downloads and reconciliation runs may continue as long as bytes and pages arrive."""
LONG_STEPS = frozenset({"render.store", "render.reconcile"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Observation:
    """The state of the worker at one instant. Times are monotonic seconds."""

    at: float
    begun: int  # steps that this process has begun
    turns: int  # turns that its dispatcher has finished
    is_free: bool  # a thread has no step, or a step that outlived its limit
    waiting: int | None  # messages in its queues; None: Redis or Postgres is away, so no step could begin


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a worker counts as stuck."""

    reason: str
    seconds: float
    waiting: int
    begun: int
    turns: int


class Judge:
    """Takes observations and returns evidence. It uses no clock except the observations' times."""

    def __init__(self, *, limit: float, pause: float) -> None:
        self._limit = limit
        self._pause = pause
        self._last: Observation | None = None
        self._idle_since = self._stuck_since = 0.0

    def judge(self, observation: Observation) -> Evidence | None:
        """Return evidence if, at every check for longer than the limit, the worker could have worked but did not."""
        last, self._last = self._last, observation
        if last is None or observation.waiting is None or observation.at - last.at > FROZEN_PAUSES * self._pause:
            self._idle_since = self._stuck_since = observation.at
            return None
        if observation.begun != last.begun or not observation.is_free or not observation.waiting:
            self._idle_since = observation.at
        if observation.turns != last.turns:
            self._stuck_since = observation.at
        if observation.at - self._idle_since > self._limit:
            return self._report(observation, "begins no step while messages wait", self._idle_since)
        if observation.at - self._stuck_since > STUCK_LIMITS * self._limit:
            return self._report(observation, "its dispatcher finishes no turn", self._stuck_since)
        return None

    def _report(self, observation: Observation, reason: str, since: float) -> Evidence:
        return Evidence(
            reason, round(observation.at - since, 1), observation.waiting or 0, observation.begun, observation.turns
        )


class Watchdog:
    """Runs in its own thread with its own connection to Redis, because the consumer's connection may hang."""

    def __init__(
        self, runtime: Runtime, *, queues: Sequence[str], threads: int, steps: Steps, count_turns: Callable[[], int]
    ) -> None:
        limit = runtime.settings.watchdog_seconds
        self._runtime = runtime
        self._queues = tuple(queues)
        self._threads = threads
        self._steps = steps
        self._count_turns = count_turns
        self._pause = pause_of(limit)
        self._judge = Judge(limit=limit, pause=self._pause)
        self._step_limits = limits_of_steps(runtime.settings)
        self._redis = open_redis(
            runtime.settings.get_redis_url(), seconds=REDIS_SECONDS, ca_file=runtime.settings.ca_file
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rushes-watchdog", daemon=True)

    def start(self) -> None:
        """Start the thread and return at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop checking: a worker that is shutting down should begin no step."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._pause):
            try:
                evidence = self._judge.judge(self._observe())
            except Exception:  # the watchdog must not end silently
                log.exception("watchdog.observation_failed")
                continue
            if evidence and not self._is_shutting_down():
                end_process(evidence, self._steps.list_running())

    def _observe(self) -> Observation:
        waiting = None if self._is_shutting_down() else self._count_waiting()
        return Observation(
            at=time.monotonic(),
            begun=self._steps.count_begun(),
            turns=self._count_turns(),
            is_free=is_free(self._steps.list_running(), threads=self._threads, limits=self._step_limits),
            waiting=waiting,
        )

    def _is_shutting_down(self) -> bool:
        return is_shutting_down() or self._stopping.is_set()

    def _count_waiting(self) -> int | None:
        try:
            pipeline = self._redis.pipeline(transaction=False)
            for queue in self._queues:
                pipeline.llen(queue)
            waiting = sum(pipeline.execute())
            with transaction(self._runtime.sessions) as session:
                queries.health.read_clock(session)
        except (redis.RedisError, OSError, DatabaseAway):
            return None
        return int(waiting)


def pause_of(limit: float) -> float:
    """Seconds between two checks: short enough that a freeze as long as the limit always counts as a freeze."""
    return min(LONGEST_PAUSE_SECONDS, limit / OBSERVATIONS_PER_LIMIT)


def limits_of_steps(settings: Settings) -> dict[str, float]:
    """Seconds after which a step of each kind no longer excuses its thread: far beyond the step's own bounds."""
    lease = settings.submit_lease.total_seconds()
    observation = 10 * settings.request_timeout_seconds
    short = dict.fromkeys(("watch.poll", "watch.resume", "callback.deliver"), observation)
    return {"render.submit": 3 * lease} | short | dict.fromkeys(LONG_STEPS, LONG_STEP_SECONDS)


def is_free(running: Sequence[tuple[str, float]], *, threads: int, limits: Mapping[str, float]) -> bool:
    """Whether a thread could take a step: it has none, or its step has outlived its limit."""
    busy = sum(age <= limits.get(task, LONG_STEP_SECONDS) for task, age in running)
    return busy < threads


def end_process(evidence: Evidence, running: Sequence[tuple[str, float]]) -> None:
    """Log the evidence and end the process at once: hanging threads cannot be stopped, and rows outlive the process."""
    log.critical(
        "watchdog.stuck",
        **asdict(evidence),
        running=[f"{task} for {age:.0f} s" for task, age in running],
        thread_names=[thread.name for thread in threading.enumerate()],
    )
    flush_logs()
    os._exit(EXIT_STUCK)
