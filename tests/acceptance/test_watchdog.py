"""A worker whose consumer is gone ends by itself, with the reason; one that has nothing to do lives on."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery.utils import nodenames

from tests.acceptance.farm import BIN, ROOT, Farm, open_farm
from workers.supervision.watchdog import EXIT_STUCK

LIMIT = 5.0


@pytest.fixture
def farm(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Farm]:
    with open_farm(database_url=database_url, redis_url=redis_url, folder=tmp_path, watchdog_seconds=LIMIT) as started:
        yield started


def stop_consuming(farm: Farm, queue: str) -> None:
    """Tell the worker of that name to consume from its queue no more, and hear that it obeys."""
    worker = nodenames.host_format(f"{queue}@%h")
    order = ["--timeout=60", f"--destination={worker}", "--json", "cancel_consumer", queue]
    command = [str(BIN / "celery"), "-A", "workers.app", "control", *order]
    done = subprocess.run(
        command, cwd=ROOT, env=farm.environment(), capture_output=True, text=True, timeout=120, check=True
    )
    assert "no longer consuming" in json.dumps(json.loads(done.stdout)), done.stdout


def test_only_a_worker_that_consumes_no_more_ends_and_says_why(farm: Farm, redis_url: str) -> None:
    store = farm.start_store()
    worker = farm.start_worker()
    farm.push(["take 1"])
    farm.wait_for_all()
    born = time.monotonic()
    farm.wait_until(lambda: time.monotonic() - born > 2 * LIMIT or store.poll() is not None, what="an idle while")
    assert (worker.poll(), store.poll()) == (None, None), "an idle worker ended"

    with redis.Redis.from_url(redis_url) as client:
        client.client_pause(int(2.5 * LIMIT * 1000))
        farm.push(["take 2"], batch="later")
        farm.wait_for_all()
    assert (worker.poll(), store.poll()) == (None, None), "a worker ended because its broker was frozen"

    stop_consuming(farm, "store")
    farm.push(["take 3"], batch="last")
    farm.wait_until(lambda: store.poll() is not None, what="the stuck worker has ended")

    assert store.returncode == EXIT_STUCK
    assert "watchdog.stuck" in farm.read_logs("store")
    farm.start_store()
    farm.wait_for_all()
    assert farm.count_jobs("succeeded") == 3
    assert len(farm.simulator.tasks()) == 3
