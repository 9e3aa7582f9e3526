"""The provider's official Python package against the simulator, unmodified: both must read the contract alike."""

from collections.abc import Iterator

import pytest
import requests
import wavespeed

from sandbox.wavespeed.handle import Simulator
from tests.support.simulator_client import PRO


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(speed=400, submits_per_minute=10_000) as running:
        yield running


@pytest.fixture
def client(simulator: Simulator) -> Iterator[wavespeed.Client]:
    yield wavespeed.Client(api_key=simulator.api_key, base_url=simulator.url, retry_interval=0.01)
    simulator.clear_faults()


def test_run_submits_waits_and_returns_the_outputs(client: wavespeed.Client) -> None:
    result = client.run(PRO, {"prompt": "a cat", "duration": 6}, poll_interval=0.05)
    [url] = result["outputs"]
    assert requests.get(url, timeout=60).headers["content-type"] == "video/mp4"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("task_failed", "Prediction failed .*Internal error"),
        ("task_moderated", "Prediction failed .*sensitive"),
        ("task_cancelled", "Prediction cancelled"),
        ("task_timeout", "Prediction timeout"),
        ("task_deleted", "Prediction deleted"),
    ],
)
def test_bad_endings_are_raised(client: wavespeed.Client, simulator: Simulator, fault: str, message: str) -> None:
    simulator.set_fault(fault)
    with pytest.raises(RuntimeError, match=message):
        client.run(PRO, {"prompt": "a cat"}, poll_interval=0.05)


def test_a_lost_answer_is_called_ambiguous_and_not_repeated(client: wavespeed.Client, simulator: Simulator) -> None:
    simulator.set_fault("submit_drop")
    before = simulator.stats()
    with pytest.raises(RuntimeError, match="may already have been created"):
        client.run(PRO, {"prompt": "a cat"})
    after = simulator.stats()
    assert after["accepted"] == before["accepted"] + 1
    assert after["requests"]["submit"] == before["requests"].get("submit", 0) + 1


def test_failing_checks_are_tried_again(client: wavespeed.Client, simulator: Simulator) -> None:
    simulator.set_fault("get_5xx", count=3)
    assert client.run(PRO, {"prompt": "a cat"}, poll_interval=0.05)["outputs"]


def test_a_refused_submission_is_raised_with_the_sentence(client: wavespeed.Client) -> None:
    with pytest.raises(RuntimeError, match=r"HTTP 400.*duration must be one of"):
        client.run(PRO, {"prompt": "a cat", "duration": 7})


def test_a_wrong_key_is_raised(simulator: Simulator) -> None:
    stranger = wavespeed.Client(api_key="wrong", base_url=simulator.url)
    with pytest.raises(RuntimeError, match="HTTP 401"):
        stranger.run(PRO, {"prompt": "a cat"})


def test_get_result_returns_the_envelope(client: wavespeed.Client, simulator: Simulator) -> None:
    client.run(PRO, {"prompt": "a cat"}, poll_interval=0.05)
    task_id = simulator.tasks()[-1]["id"]
    answer = client.get_result(task_id)
    assert (answer["code"], answer["data"]["id"], answer["data"]["status"]) == (200, task_id, "completed")
