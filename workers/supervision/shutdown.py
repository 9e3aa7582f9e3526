"""Makes a worker end after a signal, even if Redis or Postgres is away.

Celery's own shutdown makes several Redis calls, each with its time-out, and waits for steps that may wait for Postgres.
If a server is away, no clean shutdown is needed: everything the process held is free again when its leases end.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis
import structlog

from rushes.logs import flush_logs
from rushes.monitoring.broker import open_redis
from rushes.runtime import Runtime
from workers.supervision.running_tasks import Steps
from workers.tasks import is_shutting_down

AWAY_LIMIT_SECONDS = 8.0
"""The worker exits after this long with nothing to wait for. With the checks and the quarter second until the signal is
noticed, that is less than twenty seconds."""

NOTICE_SECONDS = 0.25
PROBE_SECONDS = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The state of the servers, and the number of steps that this worker runs, at one instant during a shutdown."""

    postgres: bool  # it answers
    redis: bool  # it answers
    steps: int  # running steps


def has_nothing_to_wait_for(seen: Surroundings) -> bool:
    """Whether to exit without waiting.

    Postgres is away, so no step can save its outcome; or Redis is away and no step runs.
    """
    return not seen.postgres or (not seen.redis and not seen.steps)


class ShutdownMonitor:
    """A thread that sleeps until the worker gets a signal to end. It then resigns at once and enforces the end."""

    def __init__(self, runtime: Runtime, *, steps: Steps, resign: Callable[[], None]) -> None:
        self._runtime = runtime
        self._steps = steps
        self._resign = resign
        self._redis = open_redis(
            runtime.settings.get_redis_url(), seconds=PROBE_SECONDS, ca_file=runtime.settings.ca_file
        )
        self._thread = threading.Thread(target=self._run, name="rushes-leaving", daemon=True)

    def start(self) -> None:
        """Start the thread and return at once. The thread ends with the process."""
        self._thread.start()

    def _run(self) -> None:
        while not is_shutting_down():
            time.sleep(NOTICE_SECONDS)
        self._resign()
        since = time.monotonic()
        while True:
            began = time.monotonic()
            seen = self._observe()
            if not has_nothing_to_wait_for(seen):
                since = time.monotonic()
            elif began - since > AWAY_LIMIT_SECONDS:
                self._end(seen)
            time.sleep(NOTICE_SECONDS)

    def _observe(self) -> Surroundings:
        try:
            postgres = self._runtime.readiness.check(seconds=PROBE_SECONDS).reachable
        except Exception:  # noqa: BLE001 - whatever it says, it answers
            postgres = True
        try:
            answers = bool(self._redis.ping())
        except (redis.RedisError, OSError):
            answers = False
        return Surroundings(postgres=postgres, redis=answers, steps=len(self._steps.list_running()))

    def _end(self, seen: Surroundings) -> None:
        running = [f"{task} for {age:.0f} s" for task, age in self._steps.list_running()]
        log.warning("worker.left_at_once", postgres=seen.postgres, redis=seen.redis, running=running)
        flush_logs()
        os._exit(0)  # a requested end, so exit code 0; its rows become free when their leases end
