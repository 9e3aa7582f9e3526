"""The provider's machines: a number of slots, a queue for them, and renders that end by themselves.

The simulator has no timer per render; it catches up with the clock on each request or tick.
"""

from collections import deque
from collections.abc import Callable
from sched import scheduler

from sandbox.wavespeed.state.tasks import Task

Notify = Callable[[Task, float], None]


class RenderFarm:
    """Renders at most `slots` tasks at the same time; other tasks wait in the order of their acceptance.

    Every event takes its exact time from the agenda, however late a client checks: when a render ends at t, the next
    one starts at t.
    """

    def __init__(self, slots: int, agenda: scheduler, *, on_start: Notify, on_end: Notify) -> None:
        self.slots = slots
        self._agenda = agenda
        self._on_start = on_start
        self._on_end = on_end
        self._waiting: deque[Task] = deque()
        self.running = 0
        self.most_running = 0
        self.most_unfinished = 0

    @property
    def unfinished(self) -> int:
        return self.running + len(self._waiting)

    def add(self, task: Task, moment: float) -> None:
        """Add an accepted task: it starts at once or waits for a slot."""
        self._waiting.append(task)
        self._fill(moment)
        self.most_unfinished = max(self.most_unfinished, self.unfinished)

    def resume(self, task: Task, started: float) -> None:
        """Add a task that was running when the simulator stopped: it continues as if there had been no stop."""
        self._run(task, started)
        self.most_unfinished = max(self.most_unfinished, self.unfinished)

    def _fill(self, moment: float) -> None:
        while self.running < self.slots and self._waiting:
            task = self._waiting.popleft()
            task.started = moment
            self._run(task, moment)
            self._on_start(task, moment)

    def _run(self, task: Task, started: float) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        ends = started + task.duration
        self._agenda.enterabs(ends, 0, self._finish, (task, ends))

    def _finish(self, task: Task, moment: float) -> None:
        task.ended = moment
        self.running -= 1
        self._fill(moment)
        self._on_end(task, moment)


class SlidingMinute:
    """Admits at most `limit` requests in any 60 seconds. Refused requests do not count."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._passed: deque[float] = deque()

    def admit(self, now: float) -> bool:
        while self._passed and self._passed[0] <= now - 60:
            self._passed.popleft()
        if len(self._passed) >= self.limit:
            return False
        self.count(now)
        return True

    def count(self, moment: float) -> None:
        """Count an admitted request; moments must not decrease."""
        self._passed.append(moment)
