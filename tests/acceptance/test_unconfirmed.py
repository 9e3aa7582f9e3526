"""Answers to submissions are lost: every job still succeeds, and each is bought once."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.farm import Farm, open_farm

JOBS = 16


@pytest.fixture
def farm(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Farm]:
    limits = {"submit_timeout_seconds": 3.0, "freeze_allowance_seconds": 5.0, "list_lag_seconds": 4.0}
    with open_farm(database_url=database_url, redis_url=redis_url, folder=tmp_path, **limits) as started:
        yield started


def bought(farm: Farm) -> Counter[str]:
    return Counter(task["input"]["prompt"] for task in farm.simulator.tasks())


def render_all(farm: Farm, prompts: list[str]) -> None:
    farm.start_worker()
    farm.start_store()
    farm.push(prompts)
    farm.wait_for_all()
    assert farm.count_jobs("succeeded") == len(prompts), farm.describe()


@pytest.mark.parametrize("fault", ["submit_drop", "submit_504", "submit_hang", "submit_garbage", "submit_late"])
def test_a_lost_answer_is_found_and_never_bought_again(farm: Farm, fault: str) -> None:
    rule = {"delay": 3.0} if fault == "submit_late" else {}
    farm.simulator.set_fault(fault, count=JOBS // 4, **rule)

    render_all(farm, [f"take {number}" for number in range(JOBS)])

    assert bought(farm) == {f"take {number}": 1 for number in range(JOBS)}
    # A submission that takes longer than its three seconds is unconfirmed, too, and may still be answered.
    adopted = farm.count("SELECT count(*) FROM prediction WHERE adopted_at IS NOT NULL")
    assert JOBS // 4 <= adopted <= farm.count("SELECT count(*) FROM event WHERE kind = 'prediction.unconfirmed'")
    assert farm.count("SELECT count(*) FROM unknown_prediction") == 0


def test_identical_jobs_whose_answers_are_lost_take_one_prediction_each(farm: Farm) -> None:
    farm.simulator.set_fault("submit_drop", count=3)

    render_all(farm, ["the same take"] * 6)

    assert bought(farm) == {"the same take": 6}
    assert farm.count("SELECT count(DISTINCT provider_id) FROM prediction") == 6


def test_a_job_that_was_never_accepted_is_bought_after_the_settle_time(farm: Farm) -> None:
    farm.simulator.set_fault("submit_5xx", count=2)

    render_all(farm, ["take 1", "take 2", "take 3"])

    assert bought(farm) == {"take 1": 1, "take 2": 1, "take 3": 1}
    assert farm.count("SELECT count(*) FROM prediction WHERE state = 'not_found'") == 2
    waited = "SELECT min(ended_at - posted_at) > interval '12 seconds' FROM prediction WHERE state = 'not_found'"
    assert farm.ask(waited) == [(True,)]


def test_a_list_that_fails_decides_nothing(farm: Farm) -> None:
    farm.simulator.set_fault("submit_5xx", count=1)
    farm.simulator.set_fault("get_5xx", kind="list")
    farm.start_worker()
    farm.start_store()
    farm.push(["take 1"])
    farm.wait_until(
        lambda: farm.count("SELECT count(*) FROM prediction WHERE state = 'unconfirmed'") == 1, what="unconfirmed"
    )
    settled = time.monotonic() + 16  # longer than the limits time
    farm.wait_until(lambda: time.monotonic() > settled, what="the limits time is over", seconds=20)
    assert farm.ask("SELECT state FROM prediction") == [("unconfirmed",)]

    farm.simulator.clear_faults()
    farm.wait_for_all()
    assert bought(farm) == {"take 1": 1}


def test_a_worker_killed_in_the_middle_of_its_posts_buys_nothing_twice(farm: Farm) -> None:
    farm.simulator.set_fault("slow_answer", kind="submit", delay=10.0)  # all of them last until their time-out
    worker = farm.start_worker()
    farm.start_store()
    farm.push([f"take {number}" for number in range(JOBS)])
    posting = "SELECT count(*) FROM prediction WHERE state = 'submitting' AND posted_at IS NOT NULL"
    farm.wait_until(lambda: farm.count(posting) > 3, what="some POSTs are under way")
    worker.kill()
    farm.simulator.clear_faults()
    farm.start_worker(2)
    farm.wait_for_all()
    assert farm.count_jobs("succeeded") == JOBS, farm.describe()
    assert bought(farm) == {f"take {number}": 1 for number in range(JOBS)}
