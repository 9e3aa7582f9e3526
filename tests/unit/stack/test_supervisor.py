"""The supervisor's policy, on services that end when a test says so and on a clock that a test moves."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rushes.errors import Unavailable
from stack.supervisor import Supervisor


@dataclass
class FakeService:
    """Runs once started; `die` ends it."""

    name: str
    wave: int = 0
    patience_seconds: float = 0.2
    log: Path = Path("none.log")
    ending: str | None = "not started"
    starts: int = 0
    fails: bool = False
    obeys: bool = True
    story: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.starts += 1
        if self.fails:
            raise Unavailable(f"{self.name} has no port")
        self.ending = None

    def die(self) -> None:
        self.ending = "exit code 1"

    def find_ending(self) -> str | None:
        return self.ending

    def ask_to_stop(self) -> None:
        self.story.append(f"ask {self.name}")
        if self.obeys:
            self.ending = "exit code 0"

    def end(self) -> None:
        self.story.append(f"end {self.name}")
        self.ending = "ended"


class Stage:
    """A supervisor with its clock and what it said."""

    def __init__(self) -> None:
        self.now = 100.0
        self.said: list[str] = []
        self.supervisor = Supervisor(self.said.append, clock=lambda: self.now)

    def start(self, service: FakeService) -> FakeService:
        self.supervisor.start(service)
        return service

    def tend_at(self, now: float) -> None:
        self.now = now
        self.supervisor.tend()


def test_a_process_that_ends_is_restarted_after_a_second() -> None:
    stage = Stage()
    worker = stage.start(FakeService("worker"))
    stage.tend_at(101)
    assert stage.said == []
    worker.die()
    stage.tend_at(102)
    assert stage.said == ["worker ended (exit code 1); it is started again in 1 s"]
    stage.tend_at(102.9)
    assert worker.starts == 1
    stage.tend_at(103)
    assert worker.starts == 2
    assert stage.said[1:] == ["worker is started again"]


def test_pauses_double_to_a_maximum_and_restart_after_a_healthy_minute() -> None:
    stage = Stage()
    worker = stage.start(FakeService("worker"))
    now, pauses = 100.0, []
    for lived in (1, 1, 1, 1, 1, 1, 1, 60, 1):
        worker.die()
        now += lived
        stage.tend_at(now)
        pauses.append(float(stage.said[-1].removesuffix(" s").rsplit(" ", 1)[1]))
        now += pauses[-1]
        stage.tend_at(now)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 1, 2]
    assert worker.starts == 10


def test_a_start_that_fails_is_said_and_tried_again_later() -> None:
    stage = Stage()
    server = stage.start(FakeService("Postgres"))
    server.die()
    stage.tend_at(101)
    server.fails = True
    stage.tend_at(102)
    assert stage.said[-1] == "Postgres did not start: Postgres has no port; it is started again in 2 s"
    server.fails = False
    stage.tend_at(104)
    assert stage.said[-1] == "Postgres is started again"


def test_a_process_that_waits_for_its_restart_does_not_delay_the_others() -> None:
    stage = Stage()
    first, second = stage.start(FakeService("a")), stage.start(FakeService("b"))
    first.die()
    stage.tend_at(101)
    second.die()
    stage.tend_at(101.5)
    stage.tend_at(102.6)
    assert (first.starts, second.starts) == (2, 2)


def test_a_first_start_that_fails_is_raised_and_not_kept() -> None:
    stage = Stage()
    with pytest.raises(Unavailable):
        stage.start(FakeService("api", fails=True))
    stage.tend_at(200)
    assert stage.said == []
    assert stage.supervisor.find_ended() is None


def test_waves_are_stopped_in_order_and_equals_together() -> None:
    stage, story = Stage(), list[str]()
    for name, wave in (("postgres", 5), ("api", 0), ("main1", 1), ("store", 1)):
        stage.start(FakeService(name, wave=wave, story=story))
    stage.supervisor.stop()
    assert story == [
        *("ask api", "end api"),
        *("ask main1", "ask store", "end main1", "end store"),
        *("ask postgres", "end postgres"),
    ]
    assert stage.said == []


def test_a_process_that_does_not_stop_is_killed_and_that_is_said() -> None:
    stage = Stage()
    worker = stage.start(FakeService("worker", obeys=False))
    stage.supervisor.stop()
    assert worker.ending == "ended"
    assert stage.said == ["worker did not stop in 0.2 s and is killed"]


def test_a_second_signal_ends_the_patience() -> None:
    stage = Stage()
    worker = stage.start(FakeService("worker", obeys=False, patience_seconds=3600))
    stage.supervisor.stop(is_forced=lambda: True)
    assert worker.ending == "ended"


def test_a_process_that_ended_by_itself_is_not_asked_to_stop() -> None:
    stage = Stage()
    worker = stage.start(FakeService("worker"))
    worker.die()
    stage.supervisor.stop()
    assert worker.story == ["end worker"]


def test_a_stopped_process_is_not_started_again() -> None:
    stage = Stage()
    worker = stage.start(FakeService("worker"))
    stage.supervisor.stop()
    stage.tend_at(1_000)
    assert worker.starts == 1
