"""An operator who only has Flower sees the state of the farm."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from models.db.session import transaction
from sandbox.servers import free_port
from sandbox.servers.ports import PortHold
from tests.acceptance.farm import Farm, open_farm
from tests.support import rows
from tests.support.rows import HOUR, SECOND

LOGIN = ("operator", "open-sesame")


@pytest.fixture
def farm(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Farm]:
    with open_farm(database_url=database_url, redis_url=redis_url, folder=tmp_path) as started:
        yield started


class Flower:
    """Flower's API, asked with the login."""

    def __init__(self, farm: Farm) -> None:
        port = free_port()
        self._hold = PortHold()
        self._hold.take(port)
        self.url = f"http://127.0.0.1:{port}/ops/flower"
        farm.start_flower(port=port, login=":".join(LOGIN), prefix="/ops/flower")
        farm.wait_until(self._answers, what="Flower answers")

    def get(self, path: str) -> Any:
        answer = requests.get(self.url + path, auth=LOGIN, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def tasks(self, name: str) -> list[dict[str, Any]]:
        return [task for task in self.get("/api/tasks").values() if task["name"] == name]

    def hears_of(self, *names: str) -> bool:
        """Whether it has had events of these workers: it knows nothing of the events before it listened."""
        return {each.partition("@")[0] for each in self.get("/api/workers?status=1")} >= {*names}

    def has_seen(self, name: str, *, state: str, reported: str, words: str) -> bool:
        """Whether a task of this name is in this state, and tells so."""
        tasks = [task for task in self.tasks(name) if task["state"] == state]
        return any(words in (task[reported] or "") for task in tasks)

    def _answers(self) -> bool:
        try:
            return requests.get(self.url + "/healthcheck", auth=LOGIN, timeout=10).ok
        except requests.RequestException:  # a time-out on a busy machine, too
            return False


def add_late_batch(farm: Farm) -> None:
    """A batch that has to end in a second, and whose job waits for an hour."""
    with transaction(farm.sessions) as session:
        batch = rows.insert(session, "batch", name="late", job_count=1, finish_by=SECOND)
        rows.add_job(session, batch_id=batch, number=1, due_at=HOUR)


def assert_only_the_login_opens_it_and_it_takes_no_orders(flower: Flower) -> None:
    for page in ("/", "/tasks", "/api/workers", "/metrics", "/healthcheck"):
        assert requests.get(flower.url + page, timeout=60).status_code == 401
        assert requests.get(flower.url + page, auth=LOGIN, timeout=60).status_code == 200
    assert requests.get(flower.url + "/api/workers", auth=("operator", "wrong"), timeout=60).status_code == 401
    order = requests.post(flower.url + "/api/task/async-apply/queue.report", json={"args": []}, auth=LOGIN, timeout=60)
    assert order.status_code in {403, 404, 405}


def assert_failures_say_of_which_job_and_why(farm: Farm, flower: Flower) -> None:
    """A render without a video is red, a download that is tried again is not. Neither is repeated by Celery."""
    (number,) = farm.ask("SELECT number FROM job WHERE error_code = 'moderation'")[0]
    flagged = "RenderFailed('moderation: "
    farm.wait_until(
        lambda: flower.has_seen("watch.poll", state="FAILURE", reported="exception", words=flagged),
        what="the moderated render is red",
    )
    (failed,) = [each for each in flower.tasks("watch.poll") if each["state"] == "FAILURE"]
    assert failed["uuid"].startswith(f"poll-test/{number}-")
    assert failed["exception"].endswith(f"(test/{number} ltx-2-fast)')")
    delayed = "StoreDelayed('status 503 from "
    farm.wait_until(
        lambda: flower.has_seen("render.store", state="RETRY", reported="exception", words=delayed),
        what="the download that is tried again is yellow",
    )
    stores = [each["state"] for each in flower.tasks("render.store")]
    assert "FAILURE" not in stores
    assert stores.count("RETRY") == 1
    assert "take " not in requests.get(flower.url + "/api/tasks", auth=LOGIN, timeout=60).text  # no prompt


def test_flower_shows_workers_tasks_outcomes_and_the_report(farm: Farm) -> None:
    flower = Flower(farm)
    farm.simulator.set_fault("task_moderated", count=1)
    farm.simulator.set_fault("download_5xx", count=1)
    farm.start_worker()
    farm.start_store()
    farm.wait_until(lambda: flower.hears_of("main1", "store"), what="Flower hears of both workers")
    farm.push([f"take {number}" for number in range(6)])
    add_late_batch(farm)
    succeeded = "SELECT count(*) FROM job WHERE state = 'succeeded'"
    farm.wait_until(lambda: farm.count(succeeded) == 5, what="five videos are stored")  # a task may store several
    farm.wait_until(
        lambda: flower.has_seen("render.store", state="SUCCESS", reported="result", words="stored test/"),
        what="Flower has seen a video stored",
    )

    farm.wait_until(
        lambda: {name.partition("@")[0] for name in flower.get("/api/workers?refresh=1")} == {"main1", "store"},
        what="both workers answer Flower within its second",
    )
    farm.wait_until(
        lambda: flower.has_seen("render.submit", state="SUCCESS", reported="result", words="accepted test/"),
        what="Flower has seen a submission accepted",
    )
    assert all(re.fullmatch(r"submit-test/[1-6]-[0-9a-f]{8}-1", each["uuid"]) for each in flower.tasks("render.submit"))
    assert_failures_say_of_which_job_and_why(farm, flower)
    farm.wait_until(
        lambda: flower.has_seen("queue.report", state="SUCCESS", reported="result", words="live"),
        what="a report that tells what is live",
    )
    reported = (
        "SELECT count(*) FROM event JOIN batch ON batch.id = batch_id WHERE kind = 'batch.at_risk' AND name = 'late'"
    )
    farm.wait_until(lambda: farm.count(reported) == 1, what="the leader has found the late batch")
    assert farm.simulator.api_key not in requests.get(flower.url + "/api/tasks", auth=LOGIN, timeout=60).text

    farm.simulator.set_fault("submit_429", count=1)
    farm.push(["take 7"], batch="refused")
    farm.wait_until(
        lambda: flower.has_seen("render.submit", state="FAILURE", reported="exception", words="SubmitBackedOff("),
        what="a refused submission is red",
    )
    assert_only_the_login_opens_it_and_it_takes_no_orders(flower)
