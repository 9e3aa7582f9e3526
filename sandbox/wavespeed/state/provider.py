"""The state of the simulated provider: tasks, slots, money and random choices, changed by the clock and by requests."""

import math
import random
import time
import uuid
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from sched import scheduler
from typing import TextIO

from sandbox.wavespeed.http.answers import Refusal
from sandbox.wavespeed.settings import SimulatorSettings
from sandbox.wavespeed.state.farm import RenderFarm, SlidingMinute
from sandbox.wavespeed.state.faults import Faults
from sandbox.wavespeed.state.journal import append_task, open_journal, read_journal
from sandbox.wavespeed.state.media import MediaStore
from sandbox.wavespeed.state.tasks import Task, TaskRequest, draw_fate, failed
from sandbox.wavespeed.state.timestamps import to_ns
from sandbox.wavespeed.webhooks import Outbox

NO_CREDIT = "Insufficient credits. Please top up your account."

_CREATED = attrgetter("created_ns")


@dataclass(slots=True, eq=False)
class Counts:
    """Counters since the start of the simulator."""

    requests: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    """Submissions answered with an error instead of a task, by HTTP status."""
    ended: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query for one page of the list. The window includes both ends; times are nanoseconds since 1970."""

    page: int
    page_size: int
    created_after_ns: int = 0
    created_before_ns: int = 2**63
    model: str | None = None
    status: str | None = None


class Provider:
    """One account at the provider. Nothing runs in the background: `advance` catches up with the clock."""

    def __init__(self, settings: SimulatorSettings, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.now = clock()
        self.faults = Faults(settings.seed)
        self.counts = Counts()
        self.balance = settings.balance  # each price is held at submission, and kept or refunded when the task ends
        self.limit = SlidingMinute(settings.submits_per_minute)
        self.agenda = scheduler(lambda: self.now, lambda seconds: None)  # an action gets its due time, not the present
        self.farm = RenderFarm(settings.slots, self.agenda, on_start=self._note_start, on_end=self._note_end)
        self.media = MediaStore(settings)
        self.outbox = Outbox(settings, self.faults, self.agenda)
        self._clock = clock
        self._luck = random.Random(f"{settings.seed}:durations")  # noqa: S311 - not for secrets
        self._tasks: dict[str, Task] = {}
        self._listing: list[Task] = []  # by creation time
        self._journal: TextIO | None = None
        for name, rule in settings.faults.items():
            self.faults.switch_on(name, rule)
        if settings.journal is not None:
            tasks = read_journal(settings.journal)
            self._journal = open_journal(settings.journal)
            self._restore(tasks)

    def advance(self) -> float | None:
        """Run every event due by now, and return the seconds until the next one. The clock never goes back."""
        self.now = max(self.now, self._clock())
        return self.agenda.run(blocking=False)

    def close(self) -> None:
        self.outbox.close()
        if self._journal is not None:
            self._journal.close()

    # submissions

    def accept(self, submission: TaskRequest) -> Task:
        """Create a task and hold its price. Raises `Refusal` without a free slot (in mode `refuse`) or credit."""
        if self.settings.overflow == "refuse" and self.farm.unfinished >= self.farm.slots:
            raise Refusal(429, f"Concurrency limit reached: at most {self.farm.slots} tasks can run at the same time")
        if submission.price > self.balance:
            raise Refusal(402, NO_CREDIT)
        task = self._make(submission, self.now)
        self._enter(task, self.now)
        return task

    def accept_later(self, submission: TaskRequest, delay: float) -> None:
        """Create the task `delay` seconds from now, as when a gateway gives up too early."""
        task = self._make(submission, self.now + delay)
        self._write(task)
        self.agenda.enterabs(task.accepted, 0, self._enter, (task, task.accepted))

    # reading

    def find(self, task_id: str) -> Task | None:
        """The task with this id; None once the provider's retention has ended."""
        task = self._tasks.get(task_id)
        if task is None or task.accepted < self.now - self.settings.retention_seconds:
            return None
        return task

    def list_tasks(self, query: Query) -> list[Task]:
        """The tasks of this page, newest first; pages are cut after filtering."""
        oldest = bisect_left(self._listing, query.created_after_ns, key=_CREATED)
        end = bisect_right(self._listing, query.created_before_ns, key=_CREATED)
        newest_first = (self._listing[place] for place in range(end - 1, oldest - 1, -1))
        found = (
            task
            for task in newest_first
            if query.model in {None, task.asked.model.id} and query.status in {None, task.status_at(self.now)}
        )
        skipped = (query.page - 1) * query.page_size
        return list(islice(found, skipped, skipped + query.page_size))

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
        lost = self.media.lacks_input(submission, now=moment)
        return Task(
            id=uuid.uuid4().hex,
            asked=submission,
            accepted=moment,
            duration=slow.delay if slow else self._draw_duration(),
            fate=failed(1402) if lost else draw_fate(self.faults, subject),
            unknown_status=unknown.text if unknown else "",
        )

    def _draw_duration(self) -> float:
        """A log-normal render time: `median_seconds` and `sigma`, cut at `cap_seconds`, divided by `speed`."""
        drawn = self.settings.median_seconds * math.exp(self.settings.sigma * self._luck.gauss(0, 1))
        return min(drawn, self.settings.cap_seconds) / self.settings.speed

    def _enter(self, task: Task, moment: float) -> None:
        self._write(task)
        self._remember(task)
        self.counts.accepted += 1
        self.farm.add(task, moment)

    def _remember(self, task: Task) -> None:
        self._tasks[task.id] = task
        insort(self._listing, task, key=_CREATED)
        self.balance -= task.price

    def _note_start(self, task: Task, moment: float) -> None:
        self._write(task)

    def _note_end(self, task: Task, moment: float) -> None:
        self._write(task)
        self.counts.ended[task.fate.status] += 1
        self._settle(task)
        self.outbox.announce(task, moment)

    def _settle(self, task: Task) -> None:
        if task.money == "refunded":
            self.balance += task.price

    def _write(self, task: Task) -> None:
        if self._journal is not None:
            append_task(self._journal, task)

    def _restore(self, tasks: list[Task]) -> None:
        """After a restart: a task continues as if there had been no stop; those that waited get slots last."""
        waiting = []
        for task in tasks:
            if task.accepted > self.now:
                self.agenda.enterabs(task.accepted, 0, self._enter, (task, task.accepted))
                continue
            self._remember(task)
            self.limit.count(task.accepted)
            self._settle(task)
            if task.started is None:
                waiting.append(task)
            elif task.ended is None:
                self.farm.resume(task, task.started)
        for task in waiting:
            self.farm.add(task, self.now)
