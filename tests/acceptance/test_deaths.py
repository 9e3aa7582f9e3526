"""Workers and brokers die in mid-batch: every job still succeeds, and each is bought once."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from celery.utils import nodenames

from sandbox.servers import EmbeddedRedis
from tests.acceptance.farm import Farm, open_farm

JOBS = 40


@pytest.fixture
def farm(database_url: str, broker: EmbeddedRedis, tmp_path: Path) -> Iterator[Farm]:
    """A farm with few enough store threads to have them all busy."""
    with open_farm(database_url=database_url, redis_url=broker.url, folder=tmp_path, store_threads=4) as started:
        yield started


def start_and_reach_mid_batch(farm: Farm) -> None:
    farm.push([f"take {number}" for number in range(JOBS)])
    farm.wait_until(lambda: farm.count_jobs("succeeded") >= JOBS // 8, what="a few jobs have succeeded")


def assert_each_bought_once(farm: Farm) -> None:
    farm.wait_for_all()
    assert farm.count_jobs("succeeded") == JOBS, farm.describe()
    bought = Counter(task["input"]["prompt"] for task in farm.simulator.tasks())
    assert bought == {f"take {number}": 1 for number in range(JOBS)}
    assert farm.simulator.stats()["most_unfinished"] <= farm.settings.slots
    files = list((farm.settings.data_dir / "artifacts").glob("[!.]*/*.mp4"))
    assert len(files) == JOBS


def count_taken(broker: EmbeddedRedis) -> tuple[int, int]:
    """Steps that run in the one worker there is for the files, and those that wait in it for a thread."""
    with Celery(broker=broker.url, set_as_current=False) as app:
        store = app.control.inspect(destination=[nodenames.host_format("store@%h")], timeout=5)
        running, waiting = store.active() or {}, store.reserved() or {}
    return sum(map(len, running.values())), sum(map(len, waiting.values()))


def test_a_killed_worker_loses_nothing_and_buys_nothing_twice(farm: Farm) -> None:
    worker = farm.start_worker()
    farm.start_store()
    start_and_reach_mid_batch(farm)
    farm.freeze_between_posts(worker)
    worker.kill()
    farm.start_worker(2)
    assert_each_bought_once(farm)


def test_a_killed_store_worker_leaves_no_half_file(farm: Farm) -> None:
    farm.start_worker()
    store = farm.start_store()
    start_and_reach_mid_batch(farm)
    store.kill()
    farm.start_store()
    assert_each_bought_once(farm)
    leftovers = list((farm.settings.data_dir / "artifacts" / ".incoming").iterdir())
    # A video and a poster of each dead claim; the living ones clean up.
    assert len(leftovers) <= 2 * farm.settings.store_threads


def test_a_flushed_redis_costs_nothing_but_a_lease(farm: Farm, broker: EmbeddedRedis) -> None:
    farm.start_worker()
    farm.start_store()
    start_and_reach_mid_batch(farm)
    with redis.Redis.from_url(broker.url) as client:
        client.flushall()
    assert_each_bought_once(farm)


def test_a_killed_redis_is_reconnected_to(farm: Farm, broker: EmbeddedRedis) -> None:
    """It dies while steps wait for a thread: they are neither handed back nor acknowledged, and end no worker."""
    threads = farm.settings.store_threads
    farm.simulator.set_fault("download_slow", delay=12.0, count=threads)
    worker = farm.start_worker()
    prompts = [f"take {number}" for number in range(JOBS)]
    farm.push(prompts[: threads + 2])
    # All of them before the first is copied: the last might be rendered only when the first is stored.
    farm.wait_until(lambda: farm.count_jobs("storing") == threads + 2, what="all of these are rendered")
    workers = [worker, farm.start_store()]
    farm.wait_until(
        lambda: count_taken(broker) == (threads, 2),
        what="every thread copies, and two more steps wait for one",
    )
    broker.kill()
    farm.push(prompts[threads + 2 :], batch="more")
    farm.wait_until(lambda: farm.count_jobs("succeeded") == threads + 2, what="those that waited are stored")
    broker.start()
    assert_each_bought_once(farm)
    assert [worker.poll() for worker in workers] == [None, None], farm.describe()


def test_two_workers_share_the_limits(farm: Farm) -> None:
    farm.start_worker(1)
    farm.start_worker(2)
    farm.start_store()
    farm.push([f"take {number}" for number in range(JOBS)])
    assert_each_bought_once(farm)
