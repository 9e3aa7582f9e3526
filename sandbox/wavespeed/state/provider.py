"""The state of the simulated provider: tasks, slots, money and random choices, changed by the clock and by requests."""

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from sched import scheduler
from typing import Any, TextIO

from sandbox.wavespeed.http.answers import Refusal
from sandbox.wavespeed.settings import SimulatorSettings
from sandbox.wavespeed.state.farm import RenderFarm, SlidingMinute
from sandbox.wavespeed.state.fates import Durations, draw_fate
from sandbox.wavespeed.state.faults import Faults
from sandbox.wavespeed.state.journal import append_event, open_journal, read_journal, read_task, write_task
from sandbox.wavespeed.state.ledger import Ledger
from sandbox.wavespeed.state.listing import Query, TaskListing
from sandbox.wavespeed.state.tasks import Task, TaskRequest
from sandbox.wavespeed.state.timestamps import to_ns

NO_CREDIT = "Insufficient credits. Please top up your account."


@dataclass(slots=True, eq=False)
class Counts:
    """Counters since the start of the simulator."""

    requests: Counter[str] = field(default_factory=Counter)
    answers: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """For each kind of request: how often each HTTP status, or `dropped` or `hung`, was the answer."""
    accepted: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    """Submissions answered with an error instead of a task, by HTTP status."""
    ended: Counter[str] = field(default_factory=Counter)
    ignored_keys: Counter[str] = field(default_factory=Counter)
    """Input keys that match no parameter; each is logged when it first appears."""


class Provider:
    """One account at the provider. Nothing runs in the background: `advance` catches up with the clock."""

    def __init__(self, settings: SimulatorSettings, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.now = clock()
        self.faults = Faults(settings.seed, lambda: self.now)
        self.counts = Counts()
        self.ledger = Ledger(settings.balance)
        self.limit = SlidingMinute(settings.submits_per_minute)
        self.agenda = scheduler(lambda: self.now, lambda seconds: None)  # an action gets its due time, not the present
        self.farm = RenderFarm(settings.slots, self.agenda, on_start=self._note_start, on_end=self._note_end)
        self.on_end: Callable[[Task, float], None] = lambda task, moment: None
        self._clock = clock
        self._durations = Durations(settings)
        self._tasks: dict[str, Task] = {}
        self._listing = TaskListing()
        self._journal: TextIO | None = None
        for name, rule in settings.faults.items():
            self.faults.switch_on(name, rule)
        if settings.journal is not None:
            events = read_journal(settings.journal)
            self._journal = open_journal(settings.journal)
            self._restore(events)

    def advance(self) -> float | None:
        """Run every event due by now, and return the seconds until the next one. The clock never goes back."""
        self.now = max(self.now, self._clock())
        return self.agenda.run(blocking=False)

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    # submissions

    def accept(self, submission: TaskRequest) -> Task:
        """Create a task and hold its price. Raises `Refusal` without a free slot (in mode `refuse`) or credit."""
        if self.settings.overflow == "refuse" and self.farm.unfinished >= self.farm.slots:
            raise Refusal(429, f"Concurrency limit reached: at most {self.farm.slots} tasks can run at the same time")
        if submission.price > self.ledger.balance:
            raise Refusal(402, NO_CREDIT)
        task = self._make(submission, self.now)
        self._enter(task, self.now)
        return task

    def accept_later(self, submission: TaskRequest, delay: float) -> None:
        """Create the task `delay` seconds from now, as when a gateway gives up too early."""
        task = self._make(submission, self.now + delay)
        self._write("later", **write_task(task))
        self.agenda.enterabs(task.accepted, 0, self._enter, (task, task.accepted))

    # reading

    def find(self, task_id: str) -> Task | None:
        """The task with this id; None once the provider's retention has ended."""
        task = self._tasks.get(task_id)
        if task is None or task.accepted < self.now - self.settings.retention_seconds:
            return None
        return task

    def list_tasks(self, query: Query) -> list[Task]:
        return self._listing.read(query, now=self.now)

    def all_tasks(self) -> Iterable[Task]:
        """Every task ever accepted, in the order of acceptance."""
        return self._tasks.values()

    @property
    def oldest_listed_ns(self) -> int:
        return to_ns(self.now - self.settings.retention_seconds)

    # internal transitions

    def _make(self, submission: TaskRequest, moment: float) -> Task:
        subject = submission.as_subject("submit")
        slow = self.faults.strike("task_slow", subject)
        unknown = self.faults.strike("task_unknown_progress", subject)
        return Task(
            id=uuid.uuid4().hex,
            asked=submission,
            accepted=moment,
            duration=slow.delay if slow else self._durations.draw(),
            fate=draw_fate(self.faults, subject),
            unknown_status=unknown.text if unknown else "",
        )

    def _enter(self, task: Task, moment: float) -> None:
        self._write("accepted", **write_task(task))
        self._remember(task)
        self.counts.accepted += 1
        self.farm.add(task, moment)

    def _remember(self, task: Task) -> None:
        self._tasks[task.id] = task
        self._listing.add(task)
        self.ledger.hold(task)

    def _note_start(self, task: Task, moment: float) -> None:
        self._write("started", id=task.id, at=moment)

    def _note_end(self, task: Task, moment: float) -> None:
        self._write("ended", id=task.id, at=moment)
        self.counts.ended[task.fate.status] += 1
        self.ledger.settle(task, moment)
        self.on_end(task, moment)

    def _write(self, event: str, **fields: Any) -> None:
        if self._journal is not None:
            append_event(self._journal, event, **fields)

    # after a restart

    def _restore(self, events: list[dict[str, Any]]) -> None:
        later: dict[str, Task] = {}
        for event in events:
            self._replay(event, later)
        for task in later.values():
            self.agenda.enterabs(task.accepted, 0, self._enter, (task, task.accepted))
        open_tasks = [task for task in self._tasks.values() if task.ended is None]
        for task in open_tasks:
            if task.started is not None:
                self.farm.resume(task, task.started)
        for task in open_tasks:
            if task.started is None:
                self.farm.add(task, self.now)

    def _replay(self, event: dict[str, Any], later: dict[str, Task]) -> None:
        """Apply one line of the journal; events that only older versions wrote are ignored."""
        kind, known = event["event"], self._tasks.get(event.get("id", ""))
        if kind in {"accepted", "later"}:
            if (task := read_task(event)) is None:
                return
            if kind == "later":
                later[task.id] = task
            else:
                later.pop(task.id, None)
                self._remember(task)
                self.limit.count(task.accepted)
        elif known is not None and kind == "started":
            known.started = event["at"]
        elif known is not None and kind == "ended":
            known.ended = event["at"]
            self.ledger.settle(known, event["at"])
