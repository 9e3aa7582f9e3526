"""Answers to submissions are lost: every job still succeeds, and each is bought once."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.farm import Farm, open_farm

JOBS = 16
LOST = ("submit_drop", "submit_504", "submit_hang", "submit_garbage", "submit_late")
REFUSED = "submit_5xx"
EACH = 8
FOUND = """
SELECT split_part(input->>'prompt', ' ', 1), count(adopted_at), count(*) FILTER (WHERE prediction.state = 'not_found')
FROM prediction JOIN job ON job.id = job_id GROUP BY 1
"""
"""How many predictions of each fault were found, and how many were given up; a prompt begins with its fault."""


@pytest.fixture
def farm(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Farm]:
    limits = {"submit_timeout_seconds": 3.0, "freeze_allowance_seconds": 5.0, "list_lag_seconds": 4.0}
    with open_farm(database_url=database_url, redis_url=redis_url, folder=tmp_path, **limits) as started:
        yield started


def bought(farm: Farm) -> Counter[str]:
    return Counter(task["input"]["prompt"] for task in farm.simulator.tasks())


def render_all(farm: Farm, prompts: list[str], *, batch: str) -> None:
    farm.push(prompts, batch=batch)
    farm.wait_for_all()
    assert farm.count("SELECT count(*) FROM job WHERE state <> 'succeeded'") == 0, farm.describe()


def test_a_lost_answer_is_found_and_never_bought_again(farm: Farm) -> None:
    """Answers get lost in each way, two submissions were never accepted, and then identical jobs lose their answers."""
    prompts = [f"{fault} {number}" for number in range(EACH) for fault in (*LOST, REFUSED)]
    for fault in LOST:
        rule = {"delay": 3.0} if fault == "submit_late" else {}
        farm.simulator.set_fault(fault, prompt=fault, count=EACH // 2, **rule)
    farm.simulator.set_fault(REFUSED, prompt=REFUSED, count=2)
    farm.start_worker()
    farm.start_store()

    render_all(farm, prompts, batch="lost")

    assert bought(farm) == dict.fromkeys(prompts, 1)
    adopted = {fault: count for fault, count, _ in farm.ask(FOUND)}
    assert [fault for fault in LOST if int(str(adopted[fault])) < EACH // 2] == [], adopted
    # A submission that takes longer than its three seconds is unconfirmed, too, and may still be answered.
    unconfirmed = farm.count("SELECT count(*) FROM event WHERE kind = 'prediction.unconfirmed'")
    assert farm.count("SELECT count(adopted_at) FROM prediction") <= unconfirmed
    # What was never accepted is bought after the settle time.
    assert [(fault, count) for fault, _, count in farm.ask(FOUND) if count] == [(REFUSED, 2)]
    waited = "SELECT min(ended_at - posted_at) > interval '12 seconds' FROM prediction WHERE state = 'not_found'"
    assert farm.ask(waited) == [(True,)]

    farm.simulator.set_fault("submit_drop", count=3)
    render_all(farm, ["the same take"] * 6, batch="identical")

    assert bought(farm) == {**dict.fromkeys(prompts, 1), "the same take": 6}
    assert farm.count("SELECT count(DISTINCT provider_id) FROM prediction") == len(prompts) + 6
    assert farm.count("SELECT count(*) FROM unknown_prediction") == 0


def test_a_list_that_fails_decides_nothing(farm: Farm) -> None:
    farm.simulator.set_fault("submit_5xx", count=1)
    farm.simulator.set_fault("get_5xx", kind="list")
    farm.start_worker()
    farm.push(["take 1"])
    farm.wait_until(
        lambda: farm.count("SELECT count(*) FROM prediction WHERE state = 'unconfirmed'") == 1, what="unconfirmed"
    )
    settled = time.monotonic() + 16  # longer than the limits time
    farm.wait_until(lambda: time.monotonic() > settled, what="the limits time is over", seconds=20)
    assert farm.ask("SELECT state FROM prediction") == [("unconfirmed",)]

    farm.simulator.clear_faults()
    farm.wait_until(lambda: len(farm.simulator.tasks()) == 1, what="it is bought")
    assert farm.ask("SELECT state FROM prediction ORDER BY id")[0] == ("not_found",)


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
