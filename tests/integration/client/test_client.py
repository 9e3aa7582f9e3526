"""The Python client against a real API: nothing is bought twice, nothing is missed."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from rushes_client import Batch, Declined, Job, Rushes
from rushes_client import client as module
from tests.support.access import KEY
from tests.support.api_server import Api, serve_api

MODEL = "ltx-2-fast"


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with serve_api(database_url, tmp_path) as running:
        yield running


@pytest.fixture
def rushes(api: Api) -> Iterator[Rushes]:
    with Rushes(str(api.client.base_url), key=KEY) as client:
        yield client


def wishes(count: int) -> Iterator[dict[str, Any]]:
    return ({"input": {"prompt": f"prompt {number}"}} for number in range(count))


def push_many(rushes: Rushes, jobs: Iterator[dict[str, Any]], name: str = "pilot") -> Batch:
    return rushes.push_many(jobs, name=name, defaults={"model": MODEL})


def cancel(rushes: Rushes, *jobs: Job) -> None:
    for job in jobs:
        rushes.post("jobs", str(job.id), "cancel")


def test_a_pushed_job_comes_back_with_its_price_and_references(rushes: Rushes) -> None:
    job = rushes.push(MODEL, {"prompt": "a fox"}, client_ref="shot-1", metadata={"scene": 3})
    assert rushes.get_job(job.id) == job.model_copy(update={"warnings": []})
    assert (job.state, job.client_ref, job.metadata, job.model, job.price > 0) == (
        "queued",
        "shot-1",
        {"scene": 3},
        MODEL,
        True,
    )


def test_a_refused_push_names_the_field(rushes: Rushes) -> None:
    with pytest.raises(Declined) as caught:
        rushes.push(MODEL, {"prompt": "a fox", "duration": 7})
    assert [problem.field for problem in caught.value.problems] == ["input.duration"]


def test_an_interrupted_push_continues_and_buys_nothing_twice(rushes: Rushes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 3)

    def break_off() -> Iterator[dict[str, Any]]:
        yield from islice(wishes(10), 7)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        push_many(rushes, break_off())
    assert rushes.get_batch("pilot").jobs == 6
    for _ in range(2):
        batch = push_many(rushes, wishes(10))
        assert (batch.jobs, batch.states["queued"]) == (10, 10)
    jobs = sorted(rushes.list_jobs(batch="pilot"), key=lambda job: job.number or 0)
    assert [job.input["prompt"] for job in jobs] == [f"prompt {number}" for number in range(10)]


def test_a_sealed_batch_is_returned_as_it_is(rushes: Rushes) -> None:
    batch = push_many(rushes, wishes(2))
    with pytest.raises(Declined, match="exists already"):
        rushes.push_many(wishes(2), name="pilot", defaults={"model": "ltx-2-pro"})
    assert push_many(rushes, wishes(5)).id == batch.id  # it was sealed with two


def test_jobs_are_yielded_as_they_end_also_those_that_had_ended(rushes: Rushes) -> None:
    jobs = [rushes.push(MODEL, {"prompt": f"prompt {number}"}) for number in range(3)]
    cancel(rushes, jobs[2])
    ended = rushes.as_completed(jobs, timeout=60)
    assert next(ended).id == jobs[2].id
    with ThreadPoolExecutor(1) as pool:
        pool.submit(cancel, rushes, jobs[1], jobs[0])
        assert [(job.id, job.state) for job in ended] == [(jobs[1].id, "cancelled"), (jobs[0].id, "cancelled")]


def test_a_batch_is_waited_for_until_its_last_job_has_ended(rushes: Rushes) -> None:
    batch = push_many(rushes, wishes(4))
    jobs = list(rushes.list_jobs(batch=batch.name))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(cancel, rushes, *jobs)
        ended = rushes.wait(batch, timeout=60)
    assert (ended.done, ended.states["cancelled"]) == (4, 4)
    assert rushes.wait(ended, timeout=0).id == ended.id


def test_an_open_batch_is_waited_for_until_it_is_sealed(rushes: Rushes) -> None:
    rushes.post("batches", body={"name": "pilot"})
    with pytest.raises(TimeoutError):
        rushes.wait(rushes.get_batch("pilot"), timeout=0)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(rushes.post, "batches", "pilot", "seal")
        assert rushes.wait(rushes.get_batch("pilot"), timeout=60).has_ended


def test_a_wait_ends_at_its_timeout(rushes: Rushes) -> None:
    job = rushes.push(MODEL, {"prompt": "a fox"})
    with pytest.raises(TimeoutError):
        rushes.wait(job, timeout=0)


def test_a_timeout_ends_a_wait_although_events_flow(rushes: Rushes) -> None:
    job, over = rushes.push(MODEL, {"prompt": "a fox"}), threading.Event()

    def make_events() -> None:
        while not over.wait(0.02):
            cancel(rushes, rushes.push(MODEL, {"prompt": "another"}))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(make_events)
        began = time.monotonic()
        try:
            with pytest.raises(TimeoutError):
                rushes.wait(job, timeout=0.5)
        finally:
            over.set()
    assert time.monotonic() - began < 9  # a stream is quiet for longer


def test_events_continue_from_a_stored_id(rushes: Rushes) -> None:
    jobs = [rushes.push(MODEL, {"prompt": f"prompt {number}"}, client_ref=f"ref-{number}") for number in range(3)]
    first = next(rushes.events(kinds=["job.*"]))
    assert (first.kind, first.client_ref) == ("job.pushed", "ref-0")
    rest = rushes.events(after=first.id, kinds=["job.pushed", "job.cancelled"])
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(cancel, rushes, jobs[0]).add_done_callback(lambda _: done.set())
        assert [each.client_ref for each in islice(rest, 3)] == ["ref-1", "ref-2", "ref-0"]
    assert done.is_set()


def test_a_job_without_a_video_is_not_downloaded(rushes: Rushes, tmp_path: Path) -> None:
    job = rushes.push(MODEL, {"prompt": "a fox"})
    with pytest.raises(module.ClientError, match="queued and has no video"):
        rushes.download(job, tmp_path / "videos")
