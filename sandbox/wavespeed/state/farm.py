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
        self._slots = slots
        self._agenda = agenda
        self._on_start = on_start
        self._on_end = on_end
        self._waiting: deque[Task] = deque()
        self._waiting_count = 0
        self._measured_until = 0.0
        self.running = 0
        self.most_running = 0
        self.most_unfinished = 0
        self.slot_seconds = 0.0
        """Busy seconds, summed over all slots; used for the slot utilisation."""

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def unfinished(self) -> int:
        return self.running + self._waiting_count

    def resize(self, slots: int, moment: float) -> None:
        """Change the number of slots. Running renders continue, even if there are now more of them than slots."""
        self._slots = slots
        self._fill(moment)

    def add(self, task: Task, moment: float) -> None:
        """Add an accepted task: it starts at once or waits for a slot."""
        self._waiting.append(task)
        self._waiting_count += 1
        self._fill(moment)
        self.most_unfinished = max(self.most_unfinished, self.unfinished)

    def resume(self, task: Task, started: float) -> None:
        """Add a task that was running when the simulator stopped: it continues as if there had been no stop."""
        self._occupy(started)
        self._agenda.at(started + task.duration, partial(self._finish, task))
        self.most_unfinished = max(self.most_unfinished, self.unfinished)

    def drop(self, task: Task, moment: float) -> None:
        """Stop an unfinished task and free its slot at once."""
        if task.started is None:
            self._waiting_count -= 1
        else:
            self._release(moment)
        task.ended = moment
        self._fill(moment)

    def measure(self, now: float) -> None:
        """Update `slot_seconds` to `now`."""
        if now > self._measured_until:
            self.slot_seconds += self.running * (now - self._measured_until)
            self._measured_until = now

    def _fill(self, moment: float) -> None:
        while self.running < self._slots and self._waiting:
            task = self._waiting.popleft()
            if task.ended is not None:
                continue
            self._waiting_count -= 1
            self._occupy(moment)
            task.started = moment
            self._agenda.at(moment + task.duration, partial(self._finish, task))
            self._on_start(task, moment)

    def _occupy(self, moment: float) -> None:
        self.measure(moment)
        self.running += 1
        self.most_running = max(self.most_running, self.running)

    def _release(self, moment: float) -> None:
        self.measure(moment)
        self.running -= 1

    def _finish(self, task: Task, moment: float) -> None:
        if task.ended is not None:
            return
        task.ended = moment
        self._release(moment)
        self._fill(moment)
        self._on_end(task, moment)
