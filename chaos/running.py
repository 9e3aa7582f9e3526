"""Implements `rushes chaos`: refuse settings that could reach a paid account, run every seed, report the results."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from chaos.assault import Moment, Watch
from chaos.plan import SCENARIOS
from chaos.report import COLUMNS, Report, Trial, describe_pushes, list_faults, list_rows
from chaos.servers import REDIS_SECONDS, Servers, SharedServers, list_clients
from chaos.trial import open_embedded, run_trial
from cli.output import note, print_json, print_line, print_table, show_seconds
from models.db.databases import create_database, drop_database
from models.db.errors import DatabaseAway
from rushes.monitoring.broker import open_redis
from rushes.settings import PROVIDER_URL, load_settings
from stack.errors import BAD_INPUT, FAILED, CommandError, ServiceAway
from stack.interrupts import Interrupts
from stack.migrations import name_place

PREFIX = "rushes_chaos_"
PLAIN_SECONDS = 10.0
"""Seconds between two progress lines of a run if there is no terminal."""
Opener = Callable[[Path], AbstractContextManager[Servers]]
"""Opens the servers of a run, which may keep their files in a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of the command line."""

    seeds: str = "1"
    jobs: int = 60
    minutes: float | None = None
    scenario: str = "everything"
    database_url: str | None = None
    redis_url: str | None = None
    flush_redis: bool = False

    def list_trials(self) -> list[Trial]:
        """One per seed. Raises `CommandError`."""
        if self.scenario not in SCENARIOS:
            about = "\n".join(f"{each.name}: {each.about}" for each in SCENARIOS.values())
            raise CommandError(f"there is no scenario {self.scenario!r}", hint=about, exit_code=BAD_INPUT)
        if SCENARIOS[self.scenario].restores and self.database_url is not None:
            raise CommandError(
                "the scenario restores a database, which is never done on your server: "
                "leave out --database-url and --redis-url",
                exit_code=BAD_INPUT,
            )
        try:
            seeds = [int(seed) for seed in self.seeds.split(",")]
        except ValueError:
            raise CommandError(f"--seed: {self.seeds!r} is not a number", exit_code=BAD_INPUT) from None
        return [Trial(seed, self.jobs, self.scenario, self.minutes) for seed in seeds]

    def choose_servers(self) -> Opener:
        """The servers that runs use. Raises `CommandError`."""
        if self.database_url is None and self.redis_url is None:
            if self.flush_redis:
                raise CommandError(
                    "--flush-redis is for a Redis of yours: name it with --redis-url", exit_code=BAD_INPUT
                )
            return open_embedded
        if self.database_url is None or self.redis_url is None:
            raise CommandError("--database-url and --redis-url belong together", exit_code=BAD_INPUT)
        database_url, redis_url = self.database_url, self.redis_url
        return lambda _: _open_shared(database_url, redis_url, may_flush=self.flush_redis)


def run_chaos(request: Request, *, as_json: bool) -> int:
    """Run every seed and report; returns 0 if every promise held in every run. Raises `CommandError`."""
    trials, opener = request.list_trials(), request.choose_servers()
    refuse_paid_account()
    with Interrupts() as interrupts:
        reports = [run_one(trial, opener, check=interrupts.check) for trial in trials]
    print_reports(reports, as_json=as_json)
    return FAILED if any(each.is_broken for each in reports) else 0


def refuse_paid_account() -> None:
    """Raises `CommandError` if the environment names a provider: runs only use a simulator.

    This is a second safeguard: the processes of a run get none of these variables anyway.
    """
    settings = load_settings(running_stack=False)
    named = [] if settings.wavespeed_api_key is None else ["WAVESPEED_API_KEY"]
    named += [] if settings.wavespeed_url == PROVIDER_URL else ["RUSHES_WAVESPEED_URL"]
    if named:
        raise CommandError(
            f"{' and '.join(named)} set: a run only renders with its own simulator",
            hint=f"unset {' '.join(named)}",
            exit_code=BAD_INPUT,
        )


def run_one(trial: Trial, opener: Opener, *, check: Callable[[], None]) -> Report:
    """One run in a temporary folder, which is kept if a promise was broken."""
    folder = Path(tempfile.mkdtemp(prefix=f"rushes-chaos-{trial.seed}-"))
    holds = False
    try:
        with show_run(f"seed {trial.seed}", check=check) as watch, opener(folder) as servers:
            report = run_trial(trial, servers, folder=folder, watch=watch)
        holds = not report.is_broken
    finally:
        if holds or not any(folder.iterdir()):  # refused before anything started
            shutil.rmtree(folder)
        else:
            note(f"seed {trial.seed}: logs are in {folder}")
    return report


def print_reports(reports: Sequence[Report], *, as_json: bool) -> None:
    """Print the table and the faults and, for each run that broke a promise, the command that repeats it."""
    broken = [each for each in reports if each.is_broken]
    if as_json:
        print_json({"ok": not broken, "runs": [each.as_dict() for each in reports]})
    else:
        print_table(COLUMNS, list_rows(reports))
        print_line("")
        print_table(("FAULT", "INJECTED", "STRUCK"), list_faults(reports))
        print_line(f"\npushes: {describe_pushes(reports)}")
    for each in broken:
        print(each.describe(), file=sys.stderr, flush=True)


@contextmanager
def _open_shared(database_url: str, redis_url: str, *, may_flush: bool) -> Iterator[Servers]:
    """Servers that others use, none of which is stopped, with a new database for the run.

    Raises `CommandError` if it cannot be created or Redis is in use.
    """
    _refuse_used_redis(redis_url)
    place = name_place(database_url)
    try:
        own = create_database(database_url, prefix=PREFIX)
    except DatabaseAway as error:
        raise ServiceAway(f"the database at {place} cannot be reached", hint="is --database-url right?") from error
    except SQLAlchemyError as error:
        words = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        hint = "the user needs CREATEDB, and the URL must not lead to a pooler"
        raise CommandError(f"no database can be created at {place}: {words}", hint=hint) from error
    try:
        yield SharedServers(own, redis_url, may_flush=may_flush)
    finally:
        drop_database(own, maintenance_url=database_url)


def _refuse_used_redis(url: str) -> None:
    """Other workers on the same database number would take the run's messages, and the run would take theirs."""
    try:
        with open_redis(url, seconds=REDIS_SECONDS) as client:
            others = len(list_clients(client)) - 1
    except (redis.RedisError, ValueError) as error:
        words = type(error).__name__  # its message may quote the password
        raise ServiceAway(f"Redis cannot be reached ({words})", hint="is --redis-url right?") from error
    if others:
        raise CommandError(
            f"{others} other client(s) use this database number of the Redis",
            hint="end the URL with an unused database number, such as /15",
            exit_code=BAD_INPUT,
        )


@contextmanager
def show_run(name: str, *, check: Callable[[], None]) -> Iterator[Watch]:
    """Show the progress of one run on stderr. `check` is called at every update and may raise to end the run."""
    console = Console(stderr=True, highlight=False)
    is_lively = console.is_terminal and not console.is_dumb_terminal
    columns = (TextColumn("{task.description}"), BarColumn(40), TextColumn("{task.fields[about]}"))
    progress = Progress(*columns, console=console, transient=True, disable=not is_lively)
    task = progress.add_task(name, total=None, about="starting")
    next_at = 0.0

    def watch(moment: Moment) -> None:
        nonlocal next_at
        check()
        progress.update(task, total=moment.jobs, completed=moment.ended, about=describe(moment))
        if not is_lively and moment.seconds >= next_at:
            next_at = moment.seconds + PLAIN_SECONDS
            console.print(Text(f"{name}: {describe(moment)}"), soft_wrap=True)

    with progress:
        yield watch


def describe(moment: Moment) -> str:
    """The progress in one line."""
    ended = f"{moment.ended}/{moment.jobs} ended, {moment.faults} faults"
    if moment.phase == "faults":
        return f"{ended}, {show_seconds(moment.seconds)} of about {show_seconds(moment.of_seconds)}"
    return f"{ended}, all faults are over, waiting for the last jobs ({show_seconds(moment.seconds)})"
