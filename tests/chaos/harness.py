"""One run of chaos: a farm of real processes, the faults of a plan, a quiet end, and the audit."""

import contextlib
import heapq
import itertools
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import redis

from models.errors import DatabaseAway
from models.session import open_engine, open_sessions, transaction
from rushes.artifacts import open_store
from rushes.audit import Books, Charge, Finding, audit_files, audit_rows, compare_with_ledger
from rushes.errors import Conflict
from sandbox.servers import EmbeddedPostgres, EmbeddedRedis
from sandbox.wavespeed import Simulator
from tests.acceptance.farm import Farm, open_farm
from tests.chaos.plan import ALWAYS, LONGEST_LIST_LAG, Fault, Plan, draw_plan

SLOTS = 16
RENDER_SECONDS = 1.5
STALL_SECONDS = 100.0
"""Without one job that ends; longer than every back-off that faults of seconds can lead to, such as of looks (60 s)."""
TICK_SECONDS = 0.05
MARGIN_SECONDS = 3.0


@dataclass(slots=True)
class Report:
    """What a run came to."""

    seed: int
    jobs: int
    faults: Counter[str] = field(default_factory=Counter)
    strikes: Counter[str] = field(default_factory=Counter)  # of the provider's faults: how often each one struck
    states: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    drain_seconds: float = 0.0

    @property
    def broken(self) -> list[Finding]:
        return [each for each in self.findings if each.is_broken]

    @property
    def ended(self) -> int:
        return sum(self.states.get(state, 0) for state in ("succeeded", "failed", "cancelled"))

    def count(self, *names: str) -> int:
        """How often these promises were broken."""
        return sum(each.count for each in self.findings if each.name in names)

    @property
    def lost(self) -> int:
        return self.count("paid_has_video", "every_task_in_a_row", "files_exist", "files_unchanged")

    @property
    def paid_twice(self) -> int:
        return self.count("bought_once", "no_orphan", "no_surplus")

    @property
    def command(self) -> str:
        """The line that repeats this run."""
        return f"python -m tests.chaos --seed {self.seed} --jobs {self.jobs}"

    def describe(self) -> str:
        """For a run that broke a promise: which, with examples, and how to repeat it."""
        lines = [f"{each.name}: {each.count} x {each.sentence}: {', '.join(each.examples)}" for each in self.broken]
        return "\n".join([*lines, f"repeat it with: {self.command}"])


class Chaos:
    """Lets the plan loose on the farm; one thread, so that the order of the faults is the plan's."""

    def __init__(self, farm: Farm, plan: Plan, *, postgres: EmbeddedPostgres, broker: EmbeddedRedis) -> None:
        self._farm = farm
        self._plan = plan
        self._postgres = postgres
        self._broker = broker
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._frozen: set[str] = set()
        self._open: dict[str, int] = {}  # faults of the provider that are on, and how many windows keep them on
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._began = time.monotonic()
        self.faults: Counter[str] = Counter()
        self.strikes: Counter[str] = Counter()

    def run(self) -> None:
        """Push, break, and make whole again; returns when all faults are over and every job was pushed."""
        self._supervise()
        self._began = time.monotonic()
        for kind, rule in ALWAYS.items():
            self._set_rule(kind, rule)
        for number, (at, jobs) in enumerate(self._plan.pushes):
            self._at(at, lambda number=number, jobs=jobs: self._push(number, jobs))  # type: ignore[misc]
        for fault in self._plan.faults:
            self._at(fault.at, lambda fault=fault: self._break(fault))  # type: ignore[misc]
        while self._agenda:
            self._supervise()
            self._run_due()
            time.sleep(TICK_SECONDS)
        for kind in ALWAYS:
            self._set_rule(kind, None)

    def drain(self) -> float:
        """Keep the workers alive until every job has ended, or none ends any more; returns the seconds."""
        began = moved_at = time.monotonic()
        left = -1
        while (now_left := self._farm.count("SELECT count(*) FROM job WHERE ended_at IS NULL")) > 0:
            self._supervise()
            if now_left != left:
                left, moved_at = now_left, time.monotonic()
            if time.monotonic() > moved_at + STALL_SECONDS:
                self._dump_stacks()
                break
            time.sleep(TICK_SECONDS * 4)
        return time.monotonic() - began

    def _dump_stacks(self) -> None:
        """Celery writes what each of its threads does into its log."""
        for worker in self._workers.values():
            worker.send_signal(signal.SIGUSR1)
        time.sleep(2)

    def _at(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (seconds, next(self._order), action))

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _run_due(self) -> None:
        while self._agenda and self._agenda[0][0] <= self._now():
            heapq.heappop(self._agenda)[2]()

    def _supervise(self) -> None:
        """Start what is not running, as any process manager would."""
        starts = {
            "main1": lambda: self._farm.start_worker(1),
            "main2": lambda: self._farm.start_worker(2),
            "store": self._farm.start_store,
        }
        for name, start in starts.items():
            worker = self._workers.get(name)
            if worker is None or worker.poll() is not None:
                self._workers[name] = start()
                self._frozen.discard(name)

    def _push(self, number: int, jobs: int) -> None:
        prompts = [f"take {number}-{job}" for job in range(jobs)]
        try:
            self._farm.push(prompts, batch=f"batch-{number}")
        except DatabaseAway:
            self._at(self._now() + 0.3, lambda: self._push(number, jobs))
        except Conflict:
            return  # the commit before was answered by a dead connection: the batch is there

    def _break(self, fault: Fault) -> None:
        if fault.is_providers:
            self._switch_on(fault)
        else:
            self._strike(fault)

    def _switch_on(self, fault: Fault) -> None:
        self.faults[fault.kind] += 1
        self._open[fault.kind] = self._open.get(fault.kind, 0) + 1
        if self._open[fault.kind] == 1:
            self._set_rule(fault.kind, fault.rule)
        self._at(self._now() + fault.seconds, lambda: self._switch_off(fault.kind))

    def _switch_off(self, kind: str) -> None:
        self._open[kind] -= 1
        if self._open[kind] == 0:
            self._set_rule(kind, ALWAYS.get(kind))

    def _set_rule(self, kind: str, rule: dict[str, Any] | None) -> None:
        """Replace the rule of a fault, or take it away, and count how often the one before has struck."""
        simulator = self._farm.simulator
        self.strikes[kind] += simulator.faults().get(kind, {"fired": 0})["fired"]
        if rule is None:
            simulator.clear_fault(kind)
        else:
            simulator.set_fault(kind, **rule)

    def _strike(self, fault: Fault) -> None:
        servers: dict[str, EmbeddedPostgres | EmbeddedRedis] = {"redis": self._broker, "postgres": self._postgres}
        deed, _, target = fault.kind.partition("_")
        if deed in servers:
            self.faults[fault.kind] += 1
            self._strike_server(servers[deed], fault)
            return
        name = self._find_worker(target)
        if name is None or name in self._frozen:
            return
        self.faults[fault.kind] += 1
        if deed == "kill":
            self._workers[name].kill()
            self._workers[name].wait()
            return
        worker = self._workers[name]
        worker.send_signal(signal.SIGSTOP)
        self._frozen.add(name)
        self._at(self._now() + fault.seconds, lambda: self._thaw(name, worker))

    def _thaw(self, name: str, worker: subprocess.Popen[bytes]) -> None:
        if self._workers[name] is worker:
            worker.send_signal(signal.SIGCONT)
            self._frozen.discard(name)

    def _find_worker(self, target: str) -> str | None:
        if target == "store":
            return "store"
        with contextlib.suppress(psycopg.Error):
            leader = str(self._farm.ask("SELECT coalesce(max(holder), 'main1@') FROM leader")[0][0]).split("@")[0]
            return leader if target == "leader" else ({"main1", "main2"} - {leader}).pop()
        return None

    def _strike_server(self, server: EmbeddedPostgres | EmbeddedRedis, fault: Fault) -> None:
        match fault.kind.partition("_")[2]:
            case "restart":
                server.stop()
                server.start()
            case "kill":
                server.kill()
                self._at(self._now() + fault.seconds, lambda: self._revive(server))
            case "flush":
                self._flush()
            case "freeze":
                self._freeze_server(server, fault.seconds)
            case "backends":
                self._end_backends()

    def _revive(self, server: EmbeddedPostgres | EmbeddedRedis) -> None:
        server.start()

    def _freeze_server(self, server: EmbeddedPostgres | EmbeddedRedis, seconds: float) -> None:
        if not server.running:
            return
        _signal(server.pid, signal.SIGSTOP)
        pid = server.pid
        self._at(self._now() + seconds, lambda: _signal(pid, signal.SIGCONT))

    def _flush(self) -> None:
        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self._broker.url, socket_timeout=1) as client:
            client.flushall()

    def _end_backends(self) -> None:
        with contextlib.suppress(psycopg.Error):
            self._farm.ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def run_seed(seed: int, *, jobs: int, folder: Path) -> Report:
    """One run in this folder, whose logs stay there; servers and workers are gone afterwards."""
    plan = draw_plan(seed, jobs=jobs)
    report = Report(seed, jobs)
    began = time.monotonic()
    with _open_chaos(plan, folder) as (chaos, farm):
        chaos.run()
        report.drain_seconds = chaos.drain()
        report.faults, report.strikes = chaos.faults, chaos.strikes
        report.states = {
            str(state): int(str(count)) for state, count in farm.ask("SELECT state, count(*) FROM job GROUP BY 1")
        }
        report.findings = _audit(farm)
        (folder / "end.txt").write_text(farm.describe())
    report.seconds = time.monotonic() - began
    return report


@contextlib.contextmanager
def _open_chaos(plan: Plan, folder: Path) -> Iterator[tuple[Chaos, Farm]]:
    short = {
        "slots": SLOTS,
        "submit_timeout_seconds": 3.0,
        "freeze_allowance_seconds": 5.0,
        "list_lag_seconds": LONGEST_LIST_LAG + MARGIN_SECONDS,
        "render_median_seconds": RENDER_SECONDS,
    }
    provider: dict[str, object] = {"median": RENDER_SECONDS, "seed": plan.seed, "overflow": "refuse"}
    with EmbeddedPostgres(folder / "postgres", fsync=False) as postgres, EmbeddedRedis(folder / "redis") as broker:
        _migrate(postgres.url)
        servers = {"database_url": postgres.url, "redis_url": broker.url}
        with open_farm(**servers, folder=folder, simulator=provider, **short) as farm:  # type: ignore[arg-type]
            yield Chaos(farm, plan, postgres=postgres, broker=broker), farm


def _migrate(url: str) -> None:
    from alembic import command  # noqa: PLC0415 - half a second of import, for those who run this
    from alembic.config import Config  # noqa: PLC0415

    config = Config(str(Path(__file__).resolve().parents[2] / "alembic.ini"))
    config.attributes["url"] = url
    command.upgrade(config, "head")


def _audit(farm: Farm) -> list[Finding]:
    engine = open_engine(farm.settings.get_database_url(), pool_size=1)
    try:
        with transaction(open_sessions(engine)) as session:
            return [
                *audit_rows(session),
                *compare_with_ledger(session, read_books(farm.simulator), drained=True),
                *audit_files(session, open_store(farm.settings.get_artifacts_url())),
            ]
    finally:
        engine.dispose()


def read_books(simulator: Simulator) -> Books:
    """The simulator's ledger and tasks, as the audit reads any provider's."""
    charges = [
        Charge(each["task_id"], each["type"], each["state"], Decimal(each["price"])) for each in simulator.ledger()
    ]
    tasks = [each["id"] for each in simulator.tasks()]
    return Books(tasks, charges, most_unfinished=simulator.stats()["most_unfinished"])
