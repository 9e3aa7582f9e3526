"""The provider's machines: a number of slots, a queue for them, and renders that end by themselves."""

from collections import deque
from collections.abc import Callable
from functools import partial

from sandbox.wavespeed.state.agenda import Agenda
from sandbox.wavespeed.state.tasks import Task

Notify = Callable[[Task, float], None]


class RenderFarm:
    """Renders at most `slots` tasks at the same time; other tasks wait in the order of their acceptance.

    Every event takes its exact time from the agenda, however late a client checks: when a render ends at t, the next
    one starts at t.
    """

    def __init__(self, slots: int, agenda: Agenda, *, on_start: Notify, on_end: Notify) -> None:
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
        self._agenda.at(started + task.duration, partial(self._finish, task))

    def _finish(self, task: Task, moment: float) -> None:
        task.ended = moment
        self.running -= 1
        self._fill(moment)
        self._on_end(task, moment)
