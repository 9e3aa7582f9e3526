"""Callbacks of the simulator: what is sent when, with which signature, and what becomes of it under faults."""

import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Iterator

import pytest

from sandbox.wavespeed.handle import Simulator
from tests.support.simulator_client import Api, Callback, Receiver, receiving_callbacks, wait_until


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    # Patient: a receiver that stands still for a while would be sent the same once more.
    with Simulator(speed=1_000, submits_per_minute=100_000, webhook_backoff=0.1, webhook_timeout=60) as simulator:
        yield simulator


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving_callbacks() as receiver:
        yield receiver


def is_genuine(callback: Callback, api: Api) -> bool:
    """The check that the provider's page describes, written out once more."""
    secret = api.get("/webhook/secret").json()["data"]["secret"]
    message_id, stamp = callback.headers["webhook-id"], callback.headers["webhook-timestamp"]
    version, _, signature = callback.headers["webhook-signature"].partition(",")
    signed = message_id.encode() + b"." + stamp.encode() + b"." + callback.body
    expected = hmac.new(secret[len("whsec_") :].encode(), signed, hashlib.sha256).hexdigest()
    return version == "v3" and hmac.compare_digest(signature, expected)


def test_a_completed_task_is_announced_with_a_good_signature(api: Api, receiver: Receiver) -> None:
    task_id = api.buy(query={"webhook": receiver.url})["id"]
    [callback] = receiver.wait_for(1)
    assert is_genuine(callback, api)
    assert callback.headers["webhook-id"] == task_id
    assert abs(int(callback.headers["webhook-timestamp"]) - time.time()) < 30
    assert callback.headers["content-type"] == "application/json"
    assert json.loads(callback.body) == api.get_task(task_id)


def test_an_address_that_is_none_is_refused(api: Api) -> None:
    assert api.submit(query={"webhook": "not a url"}).status_code == 400


def test_a_failure_is_announced(api: Api, simulator: Simulator, receiver: Receiver) -> None:
    simulator.set_fault("task_failed", count=1)
    api.buy(query={"webhook": receiver.url})
    reported = json.loads(receiver.wait_for(1)[0].body)
    assert (reported["status"], reported["code"], reported["outputs"]) == ("failed", 5000, [])


@pytest.mark.parametrize("fault", ["task_cancelled", "task_timeout", "task_deleted", "task_unknown_status"])
def test_other_endings_are_not_announced(api: Api, simulator: Simulator, receiver: Receiver, fault: str) -> None:
    simulator.set_fault(fault, count=1)
    before = simulator.stats()["webhooks"].get("announced", 0)
    unannounced = api.buy(query={"webhook": receiver.url})["id"]
    wait_until(lambda: next(each for each in simulator.tasks() if each["id"] == unannounced)["ended"], "the end")
    loud = api.buy(query={"webhook": receiver.url})["id"]
    assert [each.headers["webhook-id"] for each in receiver.wait_for(1)] == [loud]
    assert simulator.stats()["webhooks"]["announced"] == before + 1


def test_a_refused_callback_comes_again_after_growing_pauses(api: Api, receiver: Receiver) -> None:
    receiver.statuses = [500, 404, 302]
    task_id = api.buy(query={"webhook": receiver.url})["id"]
    callbacks = receiver.wait_for(4)
    assert {each.headers["webhook-id"] for each in callbacks} == {task_id}
    assert all(is_genuine(each, api) for each in callbacks)
    pauses = [later.arrived - earlier.arrived for earlier, later in itertools.pairwise(callbacks)]
    assert all(pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True))


def test_after_three_retries_the_provider_gives_up(api: Api, simulator: Simulator, receiver: Receiver) -> None:
    receiver.statuses = [500] * 20
    before = simulator.stats()["webhooks"].get("given_up", 0)
    api.buy(query={"webhook": receiver.url})
    wait_until(lambda: simulator.stats()["webhooks"].get("given_up", 0) == before + 1, "giving up")
    assert len(receiver.callbacks) == 4


def test_nobody_at_the_address_does_no_harm(api: Api, simulator: Simulator) -> None:
    before = simulator.stats()["webhooks"].get("given_up", 0)
    task_id = api.buy(query={"webhook": "http://127.0.0.1:1/hook"})["id"]
    assert api.wait(task_id)["status"] == "completed"
    wait_until(lambda: simulator.stats()["webhooks"].get("given_up", 0) == before + 1, "giving up")


def test_a_lost_callback_never_comes(api: Api, simulator: Simulator, receiver: Receiver) -> None:
    simulator.set_fault("webhook_lost", count=1)
    lost = api.buy(query={"webhook": receiver.url})["id"]
    api.wait(lost)
    found = api.buy(query={"webhook": receiver.url})["id"]
    assert [each.headers["webhook-id"] for each in receiver.wait_for(1)] == [found]


def test_a_duplicated_callback_comes_twice(api: Api, simulator: Simulator, receiver: Receiver) -> None:
    simulator.set_fault("webhook_duplicated", count=1)
    task_id = api.buy(query={"webhook": receiver.url})["id"]
    callbacks = receiver.wait_for(2)
    assert [each.headers["webhook-id"] for each in callbacks] == [task_id] * 2
    assert callbacks[0].body == callbacks[1].body


def test_a_late_callback_comes_late(api: Api, simulator: Simulator, receiver: Receiver) -> None:
    simulator.set_fault("webhook_late", delay=0.8, count=1)
    task_id = api.buy(query={"webhook": receiver.url})["id"]
    [callback] = receiver.wait_for(1)
    ended = next(each for each in simulator.tasks() if each["id"] == task_id)["ended"]
    assert callback.arrived - ended >= 0.8


def test_a_forged_callback_has_a_wrong_signature(api: Api, simulator: Simulator, receiver: Receiver) -> None:
    simulator.set_fault("webhook_forged", count=1)
    api.buy(query={"webhook": receiver.url})
    [callback] = receiver.wait_for(1)
    assert callback.headers["webhook-signature"].startswith("v3,")
    assert not is_genuine(callback, api)


def test_callbacks_come_though_nobody_asks_the_simulator(receiver: Receiver) -> None:
    with Simulator(speed=200, webhook_timeout=60) as simulator:
        api = Api(simulator)
        ids = {api.buy(query={"webhook": receiver.url})["id"] for _ in range(20)}
        callbacks = receiver.wait_for(20)
        assert {each.headers["webhook-id"] for each in callbacks} == ids
        ended = {each["id"]: each["ended"] for each in simulator.tasks()}
        assert all(is_genuine(each, api) for each in callbacks)
        assert sorted(each.arrived - ended[each.headers["webhook-id"]] for each in callbacks)[10] < 15.0
