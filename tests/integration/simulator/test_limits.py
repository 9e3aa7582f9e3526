"""Slots and the limit per minute, seen from outside."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sandbox.wavespeed.handle import Simulator
from tests.support.simulator_client import Api, wait_until


def most_at_once(tasks: list[dict[str, Any]]) -> int:
    moves = [(task["started"], 1) for task in tasks] + [(task["ended"], -1) for task in tasks]
    return max(itertools.accumulate(change for _, change in sorted(moves)))


def test_slots_are_never_exceeded_and_all_accepted_tasks_end() -> None:
    with Simulator(slots=4, submits_per_minute=1_000, speed=1_000) as simulator:
        simulator.set_fault("task_slow", count=4, delay=1.0)  # until the others wait behind them
        with ThreadPoolExecutor(8) as threads:
            apis = [Api(simulator) for _ in range(8)]
            list(threads.map(lambda number: apis[number % 8].buy(prompt=f"cat {number}"), range(120)))
        wait_until(lambda: simulator.stats()["unfinished"] == 0, "all renders")
        tasks = simulator.tasks()
        assert len(tasks) == len({task["id"] for task in tasks}) == 120
        assert most_at_once(tasks) == simulator.stats()["most_running"] == 4
        starts = [task["started"] for task in tasks]
        assert starts == sorted(starts)
        assert simulator.stats()["ended"] == {"completed": 120}


def test_tasks_beyond_the_slots_are_accepted_and_stay_created() -> None:
    with Simulator(slots=2, submits_per_minute=100, faults={"task_slow": {"delay": 3_600}}) as simulator:
        api = Api(simulator)
        ids = [api.buy()["id"] for _ in range(5)]
        wait_until(lambda: api.get_task(ids[1])["status"] == "processing", "processing")
        assert [api.get_task(each)["status"] for each in ids] == ["processing"] * 2 + ["created"] * 3
        stats = simulator.stats()
        assert (stats["unfinished"], stats["most_unfinished"], stats["running"]) == (5, 5, 2)


def test_tasks_beyond_the_slots_are_refused_in_that_mode() -> None:
    with Simulator(
        slots=2, submits_per_minute=100, overflow="refuse", faults={"task_slow": {"delay": 3_600}}
    ) as simulator:
        api = Api(simulator)
        for _ in range(2):
            api.buy()
        refused = api.submit()
        assert refused.status_code == 429
        assert "oncurrency limit" in refused.json()["message"]
        assert "retry-after" not in refused.headers
        assert len(simulator.tasks()) == 2
        assert simulator.stats()["refused"] == {"429": 1}


@pytest.mark.parametrize("per_minute", [2, 500])
def test_beyond_the_limit_per_minute_submissions_are_refused(per_minute: int) -> None:
    with Simulator(submits_per_minute=per_minute) as simulator:
        api = Api(simulator)
        statuses = [api.submit().status_code for _ in range(per_minute + 3)]
        assert statuses == [200] * per_minute + [429] * 3
        assert simulator.stats()["accepted"] == per_minute
        assert api.list() != []  # looking is not limited


def test_submissions_without_credit_are_refused() -> None:
    with Simulator(balance="0.40") as simulator:
        api = Api(simulator)
        api.buy()
        refused = api.submit()
        assert refused.status_code == 402
        assert "Insufficient credits" in refused.json()["message"]
