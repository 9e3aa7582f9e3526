"""Renders and unconfirmed submissions that do not end in sight hold their money and their id, but not the slots of a
small account."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.farm import Farm, open_farm
from tests.support.rows import DAY, HOUR
from tests.support.runtimes import change

STUCK = ["stuck 1", "stuck 2"]
OTHERS = [f"take {number}" for number in range(6)]


@pytest.fixture
def farm(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Farm]:
    with open_farm(
        database_url=database_url,
        redis_url=redis_url,
        folder=tmp_path,
        simulator={"slots": 4},  # the provider does not count what is stuck there
        slots=2,
        watch_window_seconds=1.5,
    ) as started:
        yield started


def test_two_stuck_renders_do_not_stop_an_account_of_two_slots(farm: Farm) -> None:
    farm.simulator.set_fault("task_slow", prompt="stuck")
    farm.start_worker()
    farm.start_store()
    farm.push(STUCK, batch="stuck")
    rendering = "SELECT count(*) FROM prediction WHERE state = 'rendering'"
    farm.wait_until(lambda: farm.count(rendering) == 2, what="both renders are accepted and stuck")
    stuck = farm.ask("SELECT job_id, provider_id FROM prediction ORDER BY id")

    farm.push(OTHERS, batch="others")
    farm.wait_until(lambda: farm.count_jobs("succeeded") == len(OTHERS), what="all the others have succeeded")

    assert farm.ask("SELECT job_id, provider_id FROM prediction WHERE state = 'rendering' ORDER BY id") == stuck
    assert farm.count("SELECT min(watch_windows) FROM prediction WHERE state = 'rendering'") >= 3
    bought = Counter(task["input"]["prompt"] for task in farm.simulator.tasks())
    assert bought == dict.fromkeys(STUCK + OTHERS, 1)


def test_a_render_is_watched_until_the_end_of_its_retention(farm: Farm) -> None:
    farm.simulator.set_fault("task_slow", prompt="stuck")
    farm.start_worker()
    farm.push(["stuck"])
    farm.wait_until(lambda: farm.ask("SELECT state FROM prediction") == [("rendering",)], what="it is accepted")
    near = "SELECT count(*) FROM event WHERE kind = 'prediction.retention_near'"

    change(farm, "prediction", accepted_at=-6 * DAY - HOUR)
    farm.wait_until(lambda: farm.count(near) == 1, what="the warning")
    assert farm.ask("SELECT state FROM prediction") == [("rendering",)]

    change(farm, "prediction", accepted_at=-7 * DAY - HOUR)
    farm.wait_for_all()
    ended = "SELECT prediction.state, job.state, job.error_code FROM prediction JOIN job ON job.id = job_id"
    assert farm.ask(ended) == [("lost", "failed", "retention_ended")]
    assert farm.count(near) == 1
    assert len(farm.simulator.tasks()) == 1


def test_unconfirmed_submissions_past_retention_do_not_stop_two_slots(farm: Farm) -> None:
    farm.simulator.set_fault("submit_5xx", count=len(STUCK))
    farm.start_worker()
    farm.start_store()
    farm.push(STUCK)
    unconfirmed = "SELECT count(*) FROM prediction WHERE state = 'unconfirmed'"
    farm.wait_until(lambda: farm.count(unconfirmed) == len(STUCK), what="both answers are lost")
    change(farm, "prediction", posted_at=-8 * DAY)

    farm.push(OTHERS[:2], batch="others")
    farm.wait_until(lambda: farm.count_jobs("succeeded") == 2, what="the others have succeeded")
    assert farm.count(unconfirmed) == len(STUCK)
    assert farm.count("SELECT count(*) FROM event WHERE kind = 'prediction.undecidable'") == len(STUCK)
