"""A farm for tests: workers as real processes against the simulator, on the test's own database and Redis."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import psutil
import psycopg

from models import DEFAULT_TENANT
from models.db.session import Waker, open_engine, open_sessions
from models.transitions.jobs import NewBatch
from rushes.jobs.pushing import JobOrder, check_orders, push_batch
from rushes.settings import Settings
from sandbox.wavespeed.handle import Simulator
from stack.processes import flower_command, step_worker_command, store_worker_command

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 120.0


class Farm:
    """Starts and kills workers, pushes jobs, and waits for what the rows say."""

    def __init__(self, settings: Settings, simulator: Simulator, *, folder: Path) -> None:
        self.settings = settings
        self.simulator = simulator
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._engine = open_engine(settings.get_database_url(), pool_size=2)
        self.sessions = open_sessions(self._engine)
        self._waker = Waker(self._engine)
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None

    def start_worker(self, number: int = 1) -> subprocess.Popen[bytes]:
        """A worker for submits and checks, with a dispatcher."""
        return self._start(step_worker_command(self.settings, number=number), f"main{number}")

    def start_store(self) -> subprocess.Popen[bytes]:
        """A worker for downloads."""
        return self._start(store_worker_command(self.settings), "store")

    def start_flower(self, *, port: int, login: str, prefix: str) -> subprocess.Popen[bytes]:
        """Flower, behind a login and below a path."""
        options = {"FLOWER_BASIC_AUTH": login, "FLOWER_URL_PREFIX": prefix}
        return self._start(flower_command(port=port), "flower", **options)

    def push(self, prompts: list[str], *, batch: str = "test") -> UUID:
        """Push a batch of the cheapest jobs."""
        orders = [JobOrder(model="ltx-2-fast", input={"prompt": prompt}) for prompt in prompts]
        stored = push_batch(self.sessions, NewBatch(DEFAULT_TENANT, batch), check_orders(orders, max_jobs=10_000)).batch
        self._waker.wake()
        return stored.id

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Rows of a query; asked by one thread."""
        return self._execute(query).fetchall()

    def count(self, query: str) -> int:
        """The number that a query returns."""
        return int(str(self.ask(query)[0][0]))

    def count_jobs(self, state: str) -> int:
        return self.count(f"SELECT count(*) FROM job WHERE state = '{state}'")  # noqa: S608 - a constant of the tests

    def wait_until(self, condition: Callable[[], bool], *, what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Return when the condition holds; fails with the farm's state and the workers' last lines."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:.0f} s: {what}\n{self.describe()}")
            time.sleep(0.05)

    def wait_for_all(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Return when no job is left that has not ended."""
        self.wait_until(
            lambda: self.count("SELECT count(*) FROM job WHERE ended_at IS NULL") == 0,
            what="every job has ended",
            seconds=seconds,
        )

    def describe(self) -> str:
        """For a failed test: what the rows and the logs say."""
        jobs = self.ask("SELECT state, count(*), max(error_message) FROM job GROUP BY 1")
        predictions = self.ask("SELECT state, count(*), min(due_at) - now() FROM prediction GROUP BY 1")
        return "\n".join([f"jobs {jobs}", f"predictions {predictions}", self.read_logs(last=1500)])

    def read_logs(self, name: str = "", *, last: int = 6000) -> str:
        """The ends of the logs of the processes whose names begin so."""
        logs = sorted(self._folder.glob(f"{name}*.log"))
        return "\n".join(f"{log.name}: ...{log.read_text()[-last:]}" for log in logs)

    def freeze_between_posts(self, worker: subprocess.Popen[bytes]) -> None:
        """Stop the worker at an instant in which no POST of its is under way, and none will ever seem to have been."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if self._freeze(worker):
                return
            worker.send_signal(signal.SIGCONT)
            time.sleep(0.02)
        raise AssertionError("the worker never rests")

    def _freeze(self, worker: subprocess.Popen[bytes]) -> bool:
        """Stop it, and say whether no POST was under way; what it has asked of Postgres and not got is taken back."""
        posting = "SELECT count(*) FROM prediction WHERE state = 'submitting' AND posted_at IS NOT NULL"
        with psycopg.connect(self.settings.get_database_url()) as connection:
            connection.execute("LOCK TABLE prediction IN EXCLUSIVE MODE")  # nobody begins a POST meanwhile
            worker.send_signal(signal.SIGSTOP)
            if connection.execute(posting).fetchone() != (0,):
                return False
            ports = [each.laddr.port for each in psutil.Process(worker.pid).net_connections("tcp")]
            end = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE client_port = ANY(%s)"
            return all(ended for (ended,) in connection.execute(end, [ports]))

    def close(self) -> None:
        """End every process."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
                process.wait(60)
        if self._connection is not None:
            self._connection.close()
        self._waker.close()
        self._engine.dispose()

    def _execute(self, statement: str) -> psycopg.Cursor[tuple[object, ...]]:
        # One connection for all that wait: to open one twenty times a second takes a third of a processor.
        if self._connection is not None:
            with contextlib.suppress(psycopg.OperationalError):
                return self._connection.execute(statement)  # type: ignore[call-overload, no-any-return]
            self._connection.close()  # the server has died since
        self._connection = psycopg.connect(self.settings.get_database_url(), autocommit=True)
        return self._connection.execute(statement)  # type: ignore[call-overload, no-any-return]

    def _start(self, command: list[str], name: str, **more: str) -> subprocess.Popen[bytes]:
        log = (self._folder / f"{name}-{len(self._processes)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                cwd=ROOT,
                env=self.environment() | more,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        return process

    def environment(self) -> dict[str, str]:
        """The variables that make a process one of this farm."""
        settings = self.settings
        return {
            **os.environ,
            "RUSHES_PUBLIC_URL": settings.public_url or "",
            "RUSHES_DATABASE_URL": settings.get_database_url(),
            "RUSHES_REDIS_URL": settings.get_redis_url(),
            "RUSHES_DATA_DIR": str(settings.data_dir),
            "RUSHES_STORE_THREADS": str(settings.store_threads),
            "WAVESPEED_API_KEY": self.simulator.api_key,
            "RUSHES_WAVESPEED_URL": self.simulator.url,
            "RUSHES_SLOTS": str(settings.slots),
            "RUSHES_OVERCOMMIT": str(settings.overcommit),
            "RUSHES_SUBMITS_PER_MINUTE": str(settings.submits_per_minute),
            "RUSHES_RENDER_MEDIAN_SECONDS": str(settings.render_median_seconds),
            "RUSHES_POLL_SHORTEST_SECONDS": str(settings.poll_shortest_seconds),
            "RUSHES_WATCH_WINDOW_SECONDS": str(settings.watch_window_seconds),
            "RUSHES_SUBMIT_TIMEOUT_SECONDS": str(settings.submit_timeout_seconds),
            "RUSHES_FREEZE_ALLOWANCE_SECONDS": str(settings.freeze_allowance_seconds),
            "RUSHES_LIST_LAG_SECONDS": str(settings.list_lag_seconds),
            "RUSHES_WATCHDOG_SECONDS": str(settings.watchdog_seconds),
        }


@contextlib.contextmanager
def open_farm(
    *, database_url: str, redis_url: str, folder: Path, simulator: dict[str, object] | None = None, **changes: object
) -> Iterator[Farm]:
    """A farm without workers yet, and its simulator; everything ends with the block."""
    chosen: dict[str, object] = {
        "slots": 12,
        "submits_per_minute": 3_000,
        "overcommit": 0,
        "render_median_seconds": 1.0,
        "poll_shortest_seconds": 0.2,
    } | changes
    limits = {"slots": chosen["slots"], "submits_per_minute": chosen["submits_per_minute"], "median": 1.0}
    with Simulator(**{**limits, **(simulator or {})}) as provider:
        settings = Settings(
            database_url=database_url,
            redis_url=redis_url,
            data_dir=folder / "data",
            **chosen,  # type: ignore[arg-type]
        )
        farm = Farm(settings, provider, folder=folder)
        try:
            yield farm
        finally:
            farm.close()
