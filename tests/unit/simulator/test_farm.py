"""The simulated machines: slots, the queue before them, and ends at exact moments."""

import itertools
import sched
import uuid
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from rushes.catalog import VIDEO_MODELS
from sandbox.wavespeed.state.farm import RenderFarm
from sandbox.wavespeed.state.tasks import Task, TaskRequest

MODEL = VIDEO_MODELS[0]


def make_task(duration: float, accepted: float = 0.0) -> Task:
    values = {"prompt": "a cat", "duration": 6, "generate_audio": True}
    asked = TaskRequest(model=MODEL, given=values, base="http://provider")
    return Task(id=uuid.uuid4().hex, asked=asked, accepted=accepted, duration=duration)


class Agenda(sched.scheduler):
    """An agenda whose clock the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(lambda: self.now, lambda seconds: None)

    def run_until(self, now: float) -> None:
        self.now = now
        self.run(blocking=False)


def make_farm(slots: int) -> tuple[RenderFarm, Agenda, list[Task]]:
    agenda = Agenda()
    ended: list[Task] = []
    farm = RenderFarm(slots, agenda, on_start=lambda task, at: None, on_end=lambda task, at: ended.append(task))
    return farm, agenda, ended


def overlap(tasks: list[Task]) -> int:
    """The largest number of these tasks that ever ran at the same time."""
    moves = [(task.started, 1) for task in tasks] + [(task.ended, -1) for task in tasks]
    return max(itertools.accumulate(change for _, change in sorted(moves)))


DURATIONS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@given(DURATIONS, st.integers(1, 6))
def test_slots_are_never_exceeded_and_everything_ends(durations: list[int], slots: int) -> None:
    farm, agenda, ended = make_farm(slots)
    tasks = [make_task(duration) for duration in durations]
    for task in tasks:
        farm.add(task, 0.0)
    agenda.run_until(10_000)
    assert len(ended) == len(tasks)
    assert overlap(tasks) == farm.most_running == min(slots, len(tasks))
    assert farm.most_unfinished == len(tasks)
    assert farm.unfinished == 0


@given(DURATIONS, st.integers(1, 6), st.lists(st.floats(0, 500), max_size=10))
def test_the_times_of_checks_change_nothing(durations: list[int], slots: int, checks: list[float]) -> None:
    def play(moments: list[float]) -> list[tuple[float | None, float | None]]:
        farm, agenda, _ = make_farm(slots)
        tasks = [make_task(duration) for duration in durations]
        for task in tasks:
            farm.add(task, 0.0)
        for moment in sorted(moments):
            agenda.run_until(moment)
        agenda.run_until(10_000)
        return [(task.started, task.ended) for task in tasks]

    assert play(checks) == play([])


@given(DURATIONS)
def test_tasks_start_in_the_order_of_their_acceptance(durations: list[int]) -> None:
    farm, agenda, _ = make_farm(2)
    tasks = [make_task(duration) for duration in durations]
    for task in tasks:
        farm.add(task, 0.0)
    agenda.run_until(10_000)
    starts = [task.started for task in tasks]
    assert starts == sorted(starts, key=lambda start: start or 0.0)


def test_a_freed_slot_is_taken_at_the_very_moment() -> None:
    farm, agenda, _ = make_farm(1)
    first, second = make_task(10), make_task(5)
    farm.add(first, 0.0)
    farm.add(second, 1.0)
    agenda.run_until(100.0)
    assert (first.ended, second.started, second.ended) == (10.0, 10.0, 15.0)


def test_a_new_task_reads_created_then_processing_then_its_fate() -> None:
    farm, agenda, _ = make_farm(1)
    first, second = make_task(10), make_task(10)
    farm.add(first, 0.0)
    farm.add(second, 0.0)
    assert [first.status_at(at) for at in (0.0, 0.1, 0.2, 9.9)] == ["created", "created", "processing", "processing"]
    agenda.run_until(10.0)
    assert (first.status_at(10.0), second.status_at(10.1)) == ("completed", "created")
    assert first.price == Decimal("0.36")
