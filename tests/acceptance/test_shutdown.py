"""Workers are asked to end: each step is finished or handed back, and the next worker goes on at once."""

import contextlib
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest

from sandbox.servers import EmbeddedPostgres, EmbeddedRedis
from tests.acceptance.farm import Farm

JOBS = 40
SOFT_SECONDS = 60
TAKE_OVER_SECONDS = 30
LEASE_SECONDS = 15
POSTING = "SELECT count(*) FROM prediction WHERE state = 'submitting' AND posted_at IS NOT NULL"
AWAY_SECONDS = 45
"""It takes half of that; a worker that says goodbye in Celery's own way takes more than twice as long."""
FELT_SECONDS = 8
"""Longer than every thread takes to come upon servers that are away."""


def ends_within(worker: subprocess.Popen[bytes], seconds: float, farm: Farm) -> int:
    """Its exit code; fails where it still runs then."""
    try:
        return worker.wait(seconds)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"still runs after {seconds} s\n{farm.read_logs()}") from None


def holder_of_lead(farm: Farm) -> str:
    """The worker that leads; nobody where the lease has lapsed."""
    names = farm.ask("SELECT holder FROM leader WHERE lease_until > now()")
    return str(names[0][0]) if names else ""


def test_a_worker_that_shuts_down_hands_its_work_to_another(farm: Farm) -> None:
    first = farm.start_worker()
    store = farm.start_store()
    second = farm.start_worker(2)
    assert_steps_are_finished_and_the_lead_is_given_up(farm, first, second)
    assert_a_download_is_handed_back(farm, store)


def assert_steps_are_finished_and_the_lead_is_given_up(
    farm: Farm, first: subprocess.Popen[bytes], second: subprocess.Popen[bytes]
) -> None:
    farm.simulator.set_fault("slow_answer", delay=2.0)
    farm.wait_until(lambda: farm.count("SELECT count(*) FROM worker") == 3, what="all workers live")
    farm.push([f"take {number}" for number in range(JOBS)])
    farm.wait_until(lambda: farm.count(POSTING) >= 3, what="POSTs are under way")
    leaver, name = (first, "main2") if holder_of_lead(farm).startswith("main1") else (second, "main1")

    reported_at = time.monotonic()
    leaver.send_signal(signal.SIGTERM)
    farm.wait_until(lambda: holder_of_lead(farm).startswith(name), what="another leads", seconds=TAKE_OVER_SECONDS)
    farm.simulator.clear_faults()
    assert ends_within(leaver, SOFT_SECONDS - (time.monotonic() - reported_at), farm) == 0

    farm.wait_for_all()
    assert farm.count_jobs("succeeded") == JOBS, farm.describe()
    bought = Counter(task["input"]["prompt"] for task in farm.simulator.tasks())
    assert bought == {f"take {number}": 1 for number in range(JOBS)}
    assert farm.count("SELECT count(*) FROM prediction") == JOBS
    assert farm.count("SELECT count(*) FROM event WHERE kind = 'prediction.unconfirmed'") == 0


def assert_a_download_is_handed_back(farm: Farm, leaver: subprocess.Popen[bytes]) -> None:
    farm.simulator.set_fault("download_slow", count=1, delay=30.0)
    farm.push(["one more"], batch="more")
    downloads = "SELECT count(*) FROM prediction WHERE state = 'completed' AND due_at > now() + interval '16 seconds'"
    farm.wait_until(lambda: farm.count(downloads) == 1, what="a download holds a store lease")

    leaver.send_signal(signal.SIGTERM)
    assert ends_within(leaver, SOFT_SECONDS, farm) == 0
    # Not by when it is due: a dispatcher that has not seen the leaver go may have published it again already.
    handed_back = "SELECT count(*) FROM event WHERE kind = 'store.delayed' AND detail->>'code' = 'handed_back'"
    assert farm.count(handed_back) == 1, farm.describe()
    waits = "SELECT count(*) FROM prediction WHERE state = 'completed' AND due_at IS NOT NULL AND begun_at IS NULL"
    assert farm.count(waits) == 1
    farm.start_store()
    farm.wait_for_all()

    assert farm.count_jobs("succeeded") == JOBS + 1
    assert farm.count("SELECT count(*) FROM event WHERE kind = 'store.crashed'") == 0
    waited = "SELECT extract(epoch FROM max(begun_at) - (SELECT max(started_at) FROM worker))::int FROM prediction"
    assert farm.count(waited) < LEASE_SECONDS
    assert list((farm.settings.data_dir / "artifacts" / ".incoming").iterdir()) == []


@pytest.mark.parametrize("fate", ["killed", "frozen"])
def test_a_worker_ends_in_time_while_redis_and_postgres_are_away(
    farm: Farm, broker: EmbeddedRedis, postgres: EmbeddedPostgres, fate: str
) -> None:
    worker = farm.start_worker()
    farm.start_store()
    farm.push([f"take {number}" for number in range(JOBS)])
    farm.wait_until(lambda: farm.count_jobs("succeeded") >= 3, what="a few jobs have succeeded")
    with away(broker.pid, postgres.pid, fate=fate):
        since = time.monotonic()
        farm.wait_until(lambda: time.monotonic() - since > FELT_SECONDS, what="it feels it")
        worker.send_signal(signal.SIGTERM)
        try:
            assert ends_within(worker, AWAY_SECONDS, farm) == 0
        finally:
            if fate == "killed":
                broker.start()
                postgres.start()


@contextlib.contextmanager
def away(*pids: int, fate: str) -> Iterator[None]:
    """Servers and their children, killed or frozen; the frozen go on afterwards."""
    processes = [each for pid in pids for each in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL if fate == "killed" else signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
