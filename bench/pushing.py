"""Acceptance of jobs over HTTP: one large batch, and single jobs from a few clients, without a working worker."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from bench.machine import describe_circumstances, measure_commit_rate, measure_copy_rate
from bench.results import Pushing
from bench.rushes_stack import find_headers, open_stack, order, post_batch
from rushes.settings import Settings

CLIENTS = 8


def measure_pushing(*, jobs: int) -> Pushing:
    """Push this number of jobs as one batch and a tenth of it singly, and measure the yardsticks in the same run."""
    circumstances = describe_circumstances()
    with open_stack(workers=0) as stack:
        database = stack.settings.get_database_url()
        began = time.perf_counter()
        post_batch(stack.settings, [f"prompt number {number}" for number in range(jobs)])
        batch = jobs / (time.perf_counter() - began)
        singles = max(200, jobs // 10)
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda number: _post_job(stack.settings, order(f"single {number}")), range(singles)))
        return Pushing(
            batch=batch,
            single=singles / (time.perf_counter() - began),
            copy=measure_copy_rate(database, rows=jobs),
            commit=measure_commit_rate(database, seconds=2),
            circumstances=circumstances,
        )


def _post_job(settings: Settings, body: dict[str, Any]) -> None:
    answer = requests.post(f"{settings.url}/v1/jobs", json=body, headers=find_headers(settings), timeout=300)
    answer.raise_for_status()
