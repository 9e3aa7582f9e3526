"""`python -m bench history`: what a long history costs, and how long pruning holds up a submission.

Two databases of one Postgres hold the same work; one has a thousand ended jobs, the other a million with ten million
events. The same reads and writes are timed on both in turn. Then jobs are admitted while another process prunes.
"""

import contextlib
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from sqlalchemy.orm import Session

from bench.child_process import ChildProcess
from bench.tables import Table
from models import JobState, queries, transitions
from models.db.session import transaction
from models.queries.dispatching import find_account
from rushes.access.callers import act_locally
from rushes.accounts import get_account
from rushes.jobs.batches import list_batches
from rushes.jobs.choosing import JobChoice, choose_jobs
from rushes.jobs.pruning import Keep, prune
from rushes.jobs.views import list_jobs
from rushes.monitoring.metrics import open_metrics
from rushes.readiness import check_readiness
from rushes.runtime import ACCOUNT, Runtime
from rushes.settings import Settings
from sandbox.servers import EmbeddedPostgres
from stack.migrations import migrate

HISTORY = "history"
FEW, MANY, MANY_QUICK = 1_000, 1_000_000, 20_000
EVENTS = 10
"""Events of each ended job."""
ROUNDS, ROUNDS_QUICK = 200, 20
ALLOWED_RATIO = 1.25
ALLOWED_SECONDS = 0.050
PRUNE_OLDER_THAN = timedelta(days=90)
PRUNE_SECONDS, PRUNE_SECONDS_QUICK = 60.0, 5.0
ADMISSION_PAUSE_SECONDS = 0.02
PAGE = 50

# The work is the same in both databases: 3,000 jobs wait, 50 render. The ended jobs ended over the last 180 days; half
# of them are in batches of a hundred.
_FILL = """
    INSERT INTO account (id, name, slots, submits_per_minute) VALUES (uuidv7(), 'default', 100000, 100000);
    INSERT INTO batch (id, name, job_count, created_at)
    SELECT uuidv7(), 'batch-' || n, 100, now() - interval '181 days'
    FROM generate_series(1, %(ended)s / 200) AS n;

    INSERT INTO job (id, batch_id, number, video_model, input, price, state, due_at, created_at, ended_at)
    SELECT uuidv7(-age), batch.id, CASE WHEN batch.id IS NOT NULL THEN (n - 1) %% 100 + 1 END,
        'lightricks/ltx-2-pro/text-to-video',
        jsonb_build_object('prompt', 'a lighthouse at dusk, take ' || n, 'duration', 6, 'generate_audio', true),
        0.36, 'succeeded', NULL, now() - age - interval '1 min', now() - age
    FROM generate_series(1, %(ended)s) AS n
    CROSS JOIN LATERAL (SELECT (%(ended)s - n + 1) * interval '180 days' / %(ended)s AS age) AS story
    LEFT JOIN batch ON n <= %(ended)s / 2 AND batch.name = 'batch-' || ((n - 1) / 100 + 1);

    INSERT INTO prediction (id, job_id, account_id, attempt, price, state, not_before, posted_at, provider_id,
        provider_created_at, accepted_at, outputs, created_at, ended_at, counted)
    SELECT uuidv7(ended_at - now()), id, (SELECT id FROM account), 1, price, 'completed', created_at, created_at,
        'p-' || id, created_at, created_at, '["https://example.com/x.mp4"]', created_at, ended_at, true
    FROM job;

    INSERT INTO daily_total (account_id, day, video_model, renders, seconds, spent)
    SELECT account_id, ended_at::date, 'lightricks/ltx-2-pro/text-to-video', count(*), 6.04 * count(*), sum(price)
    FROM prediction GROUP BY 1, 2;
    INSERT INTO finished_render (prediction_id, video_model, output_seconds, ended_at, low_seconds, high_seconds)
    SELECT id, 'lightricks/ltx-2-pro/text-to-video', 6, ended_at, 55, 60
    FROM prediction ORDER BY ended_at DESC LIMIT 1000;

    INSERT INTO artifact (id, job_id, prediction_id, kind, url, bytes, sha256, seconds, created_at)
    SELECT uuidv7(), job_id, id, 'video', 'file://' || %(folder)s || '/' || id || '.mp4', 1, repeat('0', 64), 6.04,
        ended_at
    FROM prediction;

    INSERT INTO event (at, kind, job_id, prediction_id, account_id, detail)
    SELECT created_at, 'prediction.posted', job_id, id, account_id, '{"attempt": 1}'
    FROM prediction CROSS JOIN generate_series(1, %(events)s);

    INSERT INTO job (id, video_model, input, price, priority, created_at)
    SELECT uuidv7(), 'lightricks/ltx-2-pro/text-to-video', '{"prompt": "a fox", "duration": 6}', 0.36, n %% 3, now()
    FROM generate_series(1, 3000) AS n;
    INSERT INTO job (id, video_model, input, price, state, due_at)
    SELECT uuidv7(), 'lightricks/ltx-2-pro/text-to-video', '{"prompt": "a hen", "duration": 6}', 0.36, 'rendering', NULL
    FROM generate_series(1, 50);
    INSERT INTO prediction (id, job_id, account_id, attempt, price, state, due_at, not_before, posted_at, provider_id,
        provider_created_at, accepted_at)
    SELECT uuidv7(), id, (SELECT id FROM account), 1, price, 'rendering', now() + interval '1 hour', now(), now(),
        'r-' || id, now(), now()
    FROM job WHERE state = 'rendering';
"""
_SECONDARY = """
    SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename IN ('job', 'prediction',
        'artifact', 'event') AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = indexname)
"""
_LONGEST_WAIT = """
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0) FROM pg_locks WHERE NOT granted
"""

Act = Callable[[Runtime], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds for one thing with few and with many ended jobs. A lower quartile is less disturbed than a median."""

    few: float
    many: float

    @property
    def ratio(self) -> float:
        return self.many / self.few


@dataclass(slots=True)
class Admissions:
    """How long admissions took, in seconds, and the longest time for which anything waited for a lock."""

    seconds: list[float] = field(default_factory=list)
    longest_wait: float = 0.0


def measure_history(*, quick: bool, console: Console) -> list[Table]:
    """Fill the databases, time everything, prune, and return the tables."""
    many, rounds = (MANY_QUICK, ROUNDS_QUICK) if quick else (MANY, ROUNDS)
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "postgres") as server:
        store = Path(folder) / "artifacts"
        store.mkdir(mode=0o755)
        with open_filled(server, store, ended=FEW) as small, open_filled(server, store, ended=many) as large:
            console.print(f"filled: {FEW:,} and {many:,} ended jobs, with {EVENTS} events each")
            timings = {name: time_both(act, small, large, rounds=rounds) for name, act in ACTS.items()}
            quiet = admit_for(large, seconds=5.0)
            seconds = PRUNE_SECONDS_QUICK if quick else PRUNE_SECONDS
            with ChildProcess(_prune, (large.settings, seconds)) as child:
                busy = admit_for(large, seconds=seconds)
                pruned = child.wait(lambda: None)
    title = f"{HISTORY}: {many:,} ended jobs and {many * EVENTS:,} events compared with {FEW:,} ended jobs"
    return [make_timings_table(title, timings), make_pruning_table(quiet, busy, pruned / seconds)]


@contextlib.contextmanager
def open_filled(server: EmbeddedPostgres, store: Path, *, ended: int) -> Iterator[Runtime]:
    """A runtime of a new database with this many ended jobs."""
    name = f"history_{ended}"
    url = server.url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        _fill(connection, store, ended=ended)
    settings = Settings(database_url=url, data_dir=store.parent)
    runtime = Runtime.open(settings, threads=2, application="bench")
    try:
        yield runtime
    finally:
        runtime.close()


def _fill(connection: psycopg.Connection[Any], store: Path, *, ended: int) -> None:
    """Load without indexes and checks of foreign keys, and make the indexes afterwards: several times faster."""
    indexes = connection.execute(_SECONDARY).fetchall()
    for setting in ("session_replication_role = replica", "synchronous_commit = off", "maintenance_work_mem = '512MB'"):
        connection.execute(f"SET {setting}")
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    values = {"ended": ended, "events": EVENTS, "folder": str(store)}
    cursor = psycopg.ClientCursor(connection)  # several statements at once
    cursor.execute(_FILL, values)
    for _, definition in indexes:
        connection.execute(definition)
    connection.execute("VACUUM ANALYZE")


def admit(session: Session) -> None:
    """What a dispatcher's turn does for submissions: count the slots, admit and claim."""
    account = find_account(session, ACCOUNT)
    assert account is not None  # noqa: S101 - the fill made it
    transitions.admission.count_free_slots(session, account.id)
    transitions.admission.admit_jobs(session, account.id, count=10)
    transitions.admission.claim_submits(session, account.id, count=10, lease=timedelta(seconds=15))


def _admit_and_take_back(runtime: Runtime) -> None:
    with transaction(runtime.sessions) as session:
        admit(session)
        session.rollback()


def _make_rounds(runtime: Runtime) -> None:
    """The other statements of a dispatcher's turn and rounds."""
    with transaction(runtime.sessions) as session:
        account = find_account(session, ACCOUNT)
        assert account is not None  # noqa: S101 - the fill made it
        transitions.submitting.mark_overdue_unconfirmed(session)
        transitions.accounts.raise_slots(session, account.id)
        transitions.claims.take_back_stores(session, count=500)
        transitions.claims.claim_stores(session, count=500, lease=timedelta(seconds=15))
        transitions.output_host.begin_output_outage(session, account.id)
        transitions.retention.end_retained(session, count=500)
        transitions.retention.note_retention_near(session, count=500)
        transitions.retention.hand_over_unconfirmed(session, count=500)
        transitions.unverified.end_expired_downloads(session, count=500)
        transitions.unverified.warn_of_giving_up(session, count=500)
        transitions.renders.requeue_timed_out(session, watch_window=timedelta(seconds=600), count=500)
        transitions.runs.claim_reconcile(session, account.id, lease=timedelta(seconds=15))
        queries.render_times.list_completed(session, count=2_000)
        queries.renders.list_rendering(session, newer_than_seconds=600)
        queries.forecasting.list_promises(session, count=1)
        queries.dispatching.survey(session, ACCOUNT)
        queries.dispatching.find_chores(session)
        session.rollback()


def _list(*, state: JobState | None = None, batch: str | None = None, model: str | None = None) -> Act:
    choice = JobChoice(state=[state] if state else None, batch=batch, model=model)
    return lambda runtime: list_jobs(
        runtime.sessions, lambda session: choose_jobs(session, choice, act_locally("bench")), limit=PAGE
    )


def _report(runtime: Runtime) -> None:
    with transaction(runtime.sessions) as session:
        queries.health.find_farm(session)


ACTS: Mapping[str, Act] = {
    "admission of 10 jobs": _admit_and_take_back,
    "the rest of a dispatcher's turn": _make_rounds,
    "/readyz": lambda runtime: check_readiness(runtime.sessions),
    "queue.report": _report,
    "/metrics": lambda runtime: open_metrics(runtime.sessions).wait(seconds=60),
    "/v1/account": lambda runtime: get_account(runtime.sessions),
    "list jobs": _list(),
    "list succeeded jobs": _list(state=JobState.SUCCEEDED),
    "list queued jobs": _list(state=JobState.QUEUED),
    "list jobs of a model": _list(model="ltx-2-pro"),
    "list jobs of a batch": _list(batch="batch-1"),
    "list batches": lambda runtime: list_batches(runtime.sessions, tenant_id=None, limit=1, before=None),
}


def time_both(act: Act, small: Runtime, large: Runtime, *, rounds: int) -> Timing:
    """Time it on both in turn. The first runs, which plan the statements and read from disk, do not count."""
    for _ in range(12):
        act(small)
        act(large)
    times = [(_time(act, small), _time(act, large)) for _ in range(rounds)]
    return Timing(*(statistics.quantiles(each, n=4)[0] for each in zip(*times, strict=True)))


def _time(act: Act, runtime: Runtime) -> float:
    began = time.perf_counter()
    act(runtime)
    return time.perf_counter() - began


def admit_for(runtime: Runtime, *, seconds: float) -> Admissions:
    """Admit jobs as a dispatcher would, and watch the locks meanwhile."""
    found, over = Admissions(), threading.Event()
    url = runtime.settings.get_database_url()

    def watch_locks() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not over.wait(0.005):
                row = connection.execute(_LONGEST_WAIT).fetchone()
                found.longest_wait = max(found.longest_wait, float(row[0]) if row else 0.0)

    watcher = threading.Thread(target=watch_locks)
    watcher.start()
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        found.seconds.append(_time(_admit_and_take_back, runtime))
        time.sleep(ADMISSION_PAUSE_SECONDS)
    over.set()
    watcher.join()
    return found


def _prune(asked: tuple[Settings, float], check: Callable[[], None]) -> int:
    """In a process of its own, as in use. Returns the number of removed jobs."""
    settings, seconds = asked
    runtime = Runtime.open(settings, threads=1, application="bench-prune")
    return prune(runtime, Keep(rows=PRUNE_OLDER_THAN), seconds=seconds).jobs


def make_timings_table(title: str, timings: Mapping[str, Timing]) -> Table:
    """Both times of each act, and their ratio."""
    rows = (
        (name, f"{each.few * 1000:.2f} ms", f"{each.many * 1000:.2f} ms", f"{each.ratio:.2f}", f"<= {ALLOWED_RATIO}")
        for name, each in timings.items()
    )
    return Table(title, ("lower quartile", "few", "many", "ratio", "promised"), tuple(rows))


def make_pruning_table(quiet: Admissions, busy: Admissions, rate: float) -> Table:
    """Admissions without and with pruning."""

    def show(found: Admissions) -> tuple[str, ...]:
        ordered = sorted(found.seconds)
        measured = (statistics.median(ordered), ordered[int(0.99 * len(ordered))], ordered[-1], found.longest_wait)
        return tuple(f"{each * 1000:.1f} ms" for each in measured)

    names = ("median admission", "99th percentile", "longest admission", "longest wait for a lock")
    promised = ("", "", "", f"<= {ALLOWED_SECONDS * 1000:.0f} ms")
    rows = zip(names, show(quiet), show(busy), promised, strict=True)
    return Table(
        f"pruning: {rate:,.0f} jobs a second are removed while 10 jobs at a time are admitted",
        ("", "before", "meanwhile", "promised"),
        tuple(rows),
    )
