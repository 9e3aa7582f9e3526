"""Redis freezes and dies while workers wait for it: they consume again from the one that comes after."""

import os
import signal

from sandbox.servers import EmbeddedRedis
from tests.acceptance.farm import Farm

JOBS = 12


def test_workers_consume_again_after_redis_froze_and_died(farm: Farm, broker: EmbeddedRedis) -> None:
    farm.start_worker()
    farm.start_store()
    farm.push([f"take {number}" for number in range(JOBS)], batch="before")
    farm.wait_until(lambda: farm.count_jobs("succeeded") >= 3, what="a few jobs have succeeded")

    os.kill(broker.pid, signal.SIGSTOP)
    lapsed = "SELECT count(*) FROM leader WHERE lease_until < now()"
    farm.wait_until(lambda: farm.count(lapsed) == 1, what="the dispatcher hangs on the frozen Redis")
    broker.kill()
    broker.start()
    farm.push([f"take {number}" for number in range(JOBS)], batch="after")

    farm.wait_for_all()
    assert farm.count_jobs("succeeded") == 2 * JOBS, farm.describe()
