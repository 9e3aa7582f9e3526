"""`python -m bench.chaos`: inject the same faults into Rushes and a plain Celery task, and compare their losses."""

import contextlib
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from kombu.exceptions import OperationalError

from bench.child_process import ChildProcess
from bench.machine import describe_machine
from bench.peers.celery_with_failures import GAVE_UP
from bench.peers.plain_celery import ENDED, QUEUE, Options, push_jobs
from bench.peers.sightings import read_sightings
from chaos.assault import Assault, Watch
from chaos.farm import SLOTS, open_simulator
from chaos.plan import SCENARIOS, Push, draw_plan
from chaos.report import Report, Trial, read_purchases, reckon
from chaos.running import Request, print_reports, refuse_paid_account, run_one
from chaos.servers import EmbeddedServers
from chaos.victim import Member, Victim
from cli.errors import run_guarded
from sandbox.servers import EmbeddedRedis
from sandbox.wavespeed.handle import Simulator
from stack.errors import FAILED
from stack.interrupts import Interrupts

PLAIN = "plain Celery"
PLAIN_JOBS = 300
WORKERS = {"main": "plain1", "leader": "plain2"}
STALL_SECONDS = 150.0
PAUSE_SECONDS = 0.5
OTHER_CONTAINERS = (b"G@", b"RIFF", b"FLV", b"\x00\x00\x01\xba", b"\x1aE\xdf\xa3")
"""The first bytes of MPEG-TS, AVI, FLV, MPEG and Matroska, which the simulator's output host also sends."""


def make_options(simulator: Simulator, *, broker: str, folder: Path) -> Options:
    """Its times, scaled down like ours: renders, checks, pauses and the visibility time-out take seconds.

    It has one thread per slot of the account. The visibility time-out is as short as a task's longest path allows.
    """
    return Options(
        url=simulator.url,
        key=simulator.api_key,
        broker=broker,
        folder=str(folder),
        concurrency=SLOTS // len(WORKERS),
        poll_seconds=1.0,
        wait_seconds=60.0,
        submit_seconds=10.0,
        visibility_seconds=90,
        retry_seconds=10,
    )


class PlainPeer(Victim):
    """Two workers for the plain task, supervised like ours; each push is repeated until the broker accepts it."""

    def __init__(self, options: Options, *, logs: Path) -> None:
        self._options = options
        self._folder = Path(options.folder)
        self._waiting: queue.Queue[tuple[str, str]] = queue.Queue()
        self._jobs: dict[str, str] = {}  # the prompt of each job
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_")}
        environment |= options.to_environment() | {"PYTHONUNBUFFERED": "1"}
        super().__init__({name: self._spell(name) for name in WORKERS.values()}, environment=environment, logs=logs)
        threading.Thread(target=self._run, name="plain-pusher", daemon=True).start()

    def find(self, target: str) -> Member | None:
        """One of its two workers, which do everything; it has no API, store worker or leader."""
        return self._members[WORKERS[target]] if target in WORKERS else None

    def push(self, push: Push) -> None:
        """One message per job."""
        for number, prompt in enumerate(push.prompts):
            job = f"{push.number}-{number}"
            self._jobs[job] = prompt
            self._waiting.put((job, prompt))

    @property
    def is_pushing(self) -> bool:
        """Whether the broker has not accepted every message yet."""
        return self._waiting.unfinished_tasks > 0

    def count_ended(self) -> int:
        """The number of jobs with a file, with an outcome other than completed, or that their task gave up."""
        return len(self.list_failed() | self.list_files())

    def list_failed(self) -> set[str]:
        """Jobs with a render that ended without a video, or with a task that gave up."""
        bad = {*ENDED, GAVE_UP} - {"completed"}
        return {each.job for each in read_sightings(self._folder) if each.status in bad}

    def list_files(self) -> set[str]:
        """Jobs that have a file, with any content."""
        return {path.stem for path in self._folder.glob("*.mp4")}

    def count_videos(self) -> Counter[str]:
        """The number of files that are videos, by prompt."""
        return Counter(self._jobs[job] for job in self.list_files() if is_video(self._folder / f"{job}.mp4"))

    def hasten(self) -> None:
        """Does nothing: Celery's waits cannot be cut short."""

    def _spell(self, name: str) -> list[str]:
        worker = ["worker", "--pool", "threads", "-c", str(self._options.concurrency), "-Q", QUEUE, "-n", f"{name}@%h"]
        words = [sys.executable, "-m", "celery", "-A", "bench.peers.celery_with_failures", *worker, "-l", "WARNING"]
        quiet = ["--without-gossip", "--without-mingle"]
        return [*words, *quiet]

    def _run(self) -> None:
        while True:
            job, prompt = self._waiting.get()
            while not self._try(job, prompt):
                time.sleep(PAUSE_SECONDS)
            self._waiting.task_done()

    def _try(self, job: str, prompt: str) -> bool:
        try:
            push_jobs(self._options.broker, {job: prompt})
        except (OperationalError, OSError):
            return False
        return True


def is_video(path: Path) -> bool:
    """Whether the file begins like an MP4 or another container; a web page that replaced it does not."""
    with path.open("rb") as file:
        start = file.read(12)
    return start[4:8] == b"ftyp" or start.startswith(OTHER_CONTAINERS)


def run_plain(trial: Trial, *, folder: Path, watch: Watch) -> Report:
    """Run the same plan as for Rushes with this trial's jobs, as far as its faults have a target."""
    plan = draw_plan(trial.seed, jobs=trial.jobs, scenario=SCENARIOS[trial.scenario], minutes=trial.minutes)
    report = Report(trial, who=PLAIN, logs=str(folder))
    began = time.monotonic()
    videos = folder / "videos"
    videos.mkdir()
    with EmbeddedRedis(folder / "redis") as broker, open_simulator(plan) as simulator:
        with _open_peer(make_options(simulator, broker=broker.url, folder=videos), logs=folder / "logs") as peer:
            assault = Assault(plan, peer, simulator=simulator, servers=EmbeddedServers(broker), watch=watch)
            assault.run()
            report.drain_seconds = assault.drain(stall_seconds=STALL_SECONDS)
            report.faults, report.strikes = assault.faults, assault.strikes
            found = peer.count_videos()
            report.states = {"succeeded": found.total(), "failed": peer.count_ended() - found.total()}
        report.cost = reckon(read_purchases(simulator), wanted=Counter(plan.prompts), files=found)
    report.seconds = time.monotonic() - began
    return report


@contextlib.contextmanager
def _open_peer(options: Options, *, logs: Path) -> Iterator[PlainPeer]:
    peer = PlainPeer(options, logs=logs)
    try:
        yield peer
    finally:
        peer.end()


def run_plain_aside(trial: Trial, check: Callable[[], None]) -> Report:
    """Run the plain task in a temporary folder, silently, since another run uses the terminal."""
    folder = Path(tempfile.mkdtemp(prefix="plain-chaos-"))
    try:
        return run_plain(trial, folder=folder, watch=lambda _: check())
    finally:
        shutil.rmtree(folder)


def compare(trials: Sequence[Trial], *, plain_jobs: int, check: Callable[[], None]) -> list[Report]:
    """Run Rushes for every trial and, in parallel, the plain task for the first one, with as many jobs or fewer.

    The plain task mostly waits for events that never come, so running it in parallel slows Rushes little.
    """
    opener = Request().choose_servers()
    if not plain_jobs:
        return [run_one(trial, opener, check=check) for trial in trials]
    trial = replace(trials[0], jobs=min(plain_jobs, trials[0].jobs))
    with ChildProcess(run_plain_aside, trial) as plain:
        reports = [run_one(trial, opener, check=check) for trial in trials]
        return [*reports, plain.wait(check)]


def main(
    seeds: Annotated[str, typer.Option(help="separated by commas")] = "1,2,3",
    jobs: Annotated[int, typer.Option(help="per seed")] = 300,
    scenario: Annotated[str, typer.Option(help=", ".join(SCENARIOS))] = "everything",
    plain_jobs: Annotated[int, typer.Option(help="jobs of the plain Celery task, for the first seed; 0: none")] = (
        PLAIN_JOBS
    ),
) -> None:
    """Inject the same faults into Rushes and a plain Celery task. Exit code 1 if Rushes broke a promise."""

    def run() -> int:
        trials = Request(seeds=seeds, jobs=jobs, scenario=scenario).list_trials()
        refuse_paid_account()
        print(f"machine: {describe_machine()}", flush=True)
        with Interrupts() as interrupts:
            reports = compare(trials, plain_jobs=plain_jobs, check=interrupts.check)
        print_reports(reports, as_json=False)
        return FAILED if any(each.is_broken for each in reports) else 0

    raise typer.Exit(run_guarded(run))


if __name__ == "__main__":
    typer.run(main)
