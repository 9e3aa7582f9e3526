"""`python -m bench actions`: how long the leader needs to change 100,000 jobs, and its longest transaction."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from rich.console import Console

from bench.tables import Table
from models import ActionKind, JobState
from models.queries.job_filter import JobFilter
from rushes.access.callers import act_locally
from rushes.jobs.actions import advance_action, find_running_action, get_action, request_action
from rushes.runtime import Runtime
from rushes.settings import Settings
from sandbox.servers import EmbeddedPostgres
from stack.migrations import migrate

ACTIONS = "actions"
JOBS, JOBS_QUICK = 100_000, 5_000
ALLOWED_SECONDS, ALLOWED_CHUNK_SECONDS = 60.0, 0.100

# A tenth has failed in four ways, and a tenth renders, each with one prediction; the rest is queued.
_FILL = """
    INSERT INTO account (id, name, slots, submits_per_minute) VALUES (uuidv7(), 'default', 100, 1000);
    INSERT INTO batch (id, name, job_count) VALUES (uuidv7(), 'bench', {jobs});
    INSERT INTO job (id, batch_id, number, video_model, input, price, state, due_at, created_at, ended_at, error_code)
    SELECT uuidv7(), batch.id, n, 'lightricks/ltx-2-fast/text-to-video',
        '{{"prompt": "a lighthouse at dusk", "duration": 6, "generate_audio": true}}', 0.24,
        CASE n % 10 WHEN 0 THEN 'failed' WHEN 1 THEN 'rendering' ELSE 'queued' END, CASE WHEN n % 10 > 1 THEN now() END,
        now() - interval '1 hour', CASE WHEN n % 10 = 0 THEN now() END, CASE WHEN n % 10 = 0 THEN 'code-' || n % 40 END
    FROM generate_series(1, {jobs}) AS n, batch;
    INSERT INTO prediction (id, job_id, account_id, attempt, price, state, not_before, posted_at, accepted_at, ended_at,
        provider_id, error_code)
    SELECT uuidv7(), job.id, account.id, 1, 0.24, job.state, now(), now(), now(), ended_at, job.id::text, error_code
    FROM job, account WHERE job.state IN ('failed', 'rendering');
    ANALYZE;
"""


class ActionCost(NamedTuple):
    """Seconds that one action took."""

    name: str
    jobs: int
    request: float  # to resolve, count and store it
    whole: float
    longest: float  # the longest transaction, with the read before it

    def show(self) -> tuple[str, ...]:
        """A row of the table, next to the limits."""
        whole, longest = f"{self.whole:.1f}", f"{self.longest * 1e3:.0f}"
        limits = f"{ALLOWED_SECONDS:.0f}", f"{ALLOWED_CHUNK_SECONDS * 1e3:.0f}"
        return self.name, f"{self.jobs:,}", f"{self.request:.2f}", whole, limits[0], longest, limits[1]


def measure_actions(*, quick: bool, console: Console) -> list[Table]:
    """Make one action of each kind after the other, without a dispatcher around it."""
    jobs = JOBS_QUICK if quick else JOBS
    with _open(jobs) as (runtime, batch):
        console.print(f"filled: a batch of {jobs:,} jobs")
        whole = JobFilter(batch_id=batch)
        costs = [
            _measure(runtime, "retry by code", ActionKind.RETRY, JobFilter(code="code-10")),
            _measure(runtime, "priority", ActionKind.PRIORITY, whole, {"priority": 3}),
            _measure(runtime, "pause", ActionKind.PAUSE, whole),
            _measure(runtime, "resume", ActionKind.RESUME, whole),
            _measure(runtime, "cancel renders", ActionKind.CANCEL, JobFilter(states=(JobState.RENDERING,))),
            _measure(runtime, "cancel", ActionKind.CANCEL, whole),
            _measure(runtime, "retry", ActionKind.RETRY, whole),
        ]
    header = ("action", "jobs", "request s", "whole s", "allowed", "longest ms", "allowed")
    rows = tuple(each.show() for each in costs)
    return [Table(f"{ACTIONS}: one change to many jobs; the limits are for {JOBS:,}", header, rows)]


@contextmanager
def _open(jobs: int) -> Iterator[tuple[Runtime, UUID]]:
    """A runtime of a new database with a batch of this many jobs, and the batch's id."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "postgres") as server:
        migrate(server.url)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(_FILL.format(jobs=jobs).encode())
            ((batch,),) = connection.execute("SELECT id FROM batch").fetchall()
        settings = Settings(database_url=server.url, data_dir=Path(folder))
        runtime = Runtime.open(settings, threads=2, application="bench")
        try:
            yield runtime, batch
        finally:
            runtime.close()


def _measure(
    runtime: Runtime, name: str, kind: ActionKind, chosen: JobFilter, arguments: dict[str, Any] | None = None
) -> ActionCost:
    began = time.perf_counter()
    action = request_action(runtime.sessions, kind, lambda _: chosen, caller=act_locally("bench"), arguments=arguments)
    requested = at = time.perf_counter()
    longest = 0.0
    while running := find_running_action(runtime.sessions):
        advance_action(runtime.sessions, running)
        longest, at = max(longest, time.perf_counter() - at), time.perf_counter()
    changed = get_action(runtime.sessions, action.id).changed
    return ActionCost(name, changed, requested - began, time.perf_counter() - requested, longest)
