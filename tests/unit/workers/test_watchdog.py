"""When a worker is called stuck: only where it could have worked, at every check, and did not."""

from collections.abc import Iterable
from typing import Any

import pytest

from rushes.settings import Settings
from workers.supervision.running_tasks import Steps
from workers.supervision.watchdog import (
    LONG_STEP_SECONDS,
    STUCK_LIMITS,
    Evidence,
    Judge,
    Observation,
    is_free,
    limits_of_steps,
    pause_of,
)

LIMIT, PAUSE = 60.0, 10.0
CHECKS = 12


def observations(count: int = CHECKS, **changes: Any) -> list[Observation]:
    """Checks a worker that begins nothing while messages wait, its dispatcher alive."""
    seen: dict[str, Any] = {"begun": 7, "is_free": True, "waiting": 3} | changes
    return [Observation(at=number * PAUSE, turns=number, **seen) for number in range(count)]


def judge_all(seen: Iterable[Observation]) -> Evidence | None:
    judge = Judge(limit=LIMIT, pause=PAUSE)
    return next((evidence for evidence in map(judge.judge, seen) if evidence), None)


def test_a_worker_that_begins_no_waiting_message_is_stuck_after_the_limit() -> None:
    evidence = judge_all(observations())
    assert evidence is not None
    assert (evidence.reason, evidence.seconds) == ("begins no step while messages wait", LIMIT + PAUSE)
    assert (evidence.waiting, evidence.begun) == (3, 7)
    assert judge_all(observations(int(LIMIT / PAUSE) + 1)) is None


@pytest.mark.parametrize(
    "excuse", [{"waiting": 0}, {"waiting": None}, {"is_free": False}], ids=["an idle farm", "servers away", "all busy"]
)
def test_a_worker_is_not_stuck_for_what_it_cannot_help(excuse: dict[str, Any]) -> None:
    assert judge_all(observations(**excuse)) is None


@pytest.mark.parametrize(
    "excuse",
    [{"waiting": 0}, {"waiting": None}, {"is_free": False}, {"begun": 8}],
    ids=["empty queues", "servers away", "all busy", "a step"],
)
def test_an_excuse_begins_the_limit_anew(excuse: dict[str, Any]) -> None:
    seen = [
        *observations(5),
        Observation(**{"at": 50.0, "begun": 7, "turns": 5, "is_free": True, "waiting": 3} | excuse),
    ]
    begun = excuse.get("begun", 7)
    later = [Observation(at=60.0 + n * PAUSE, begun=begun, turns=6 + n, is_free=True, waiting=3) for n in range(5)]
    assert judge_all([*seen, *later]) is None
    more = Observation(at=120.0, begun=begun, turns=12, is_free=True, waiting=3)
    assert (
        judge_all([*seen, *later, Observation(at=110.0, begun=begun, turns=11, is_free=True, waiting=3), more])
        is not None
    )


def test_a_frozen_process_is_not_judged_by_the_time_it_slept() -> None:
    thawed = [Observation(at=500.0 + n * PAUSE, begun=7, turns=9, is_free=True, waiting=3) for n in range(6)]
    assert judge_all([*observations(5), *thawed]) is None


@pytest.mark.parametrize("limit", [5.0, 60.0, 600.0])
def test_a_freeze_as_long_as_the_limit_is_not_held_against_a_worker(limit: float) -> None:
    judge = Judge(limit=limit, pause=pause_of(limit))
    moments = (0.0, pause_of(limit), pause_of(limit) + 1.1 * limit)
    seen = [Observation(at=at, begun=7, turns=number, is_free=True, waiting=3) for number, at in enumerate(moments)]
    assert [judge.judge(each) for each in seen] == [None, None, None]


def test_a_dispatcher_that_finishes_no_turn_is_stuck_without_messages() -> None:
    count = int(STUCK_LIMITS * LIMIT / PAUSE)
    stuck = [Observation(at=n * PAUSE, begun=0, turns=4, is_free=True, waiting=0) for n in range(count + 2)]
    assert judge_all(stuck[:-1]) is None
    evidence = judge_all(stuck)
    assert evidence is not None
    assert evidence.reason == "its dispatcher finishes no turn"


def test_a_thread_is_busy_until_its_step_outlives_its_limit() -> None:
    limits = limits_of_steps(Settings())
    young, old = ("render.submit", 200.0), ("render.submit", 300.0)
    assert not is_free([young, young], threads=2, limits=limits)
    assert is_free([young], threads=2, limits=limits)
    assert is_free([young, old], threads=2, limits=limits)
    assert not is_free([("render.store", LONG_STEP_SECONDS - 1)], threads=1, limits=limits)


def test_steps_are_counted_and_forgotten_when_they_end() -> None:
    steps = Steps()
    steps.begin("watch.poll")
    ((task, age),) = steps.list_running()
    assert (task, age >= 0, steps.count_begun()) == ("watch.poll", True, 1)
    steps.end()
    assert (steps.list_running(), steps.count_begun()) == ([], 1)
