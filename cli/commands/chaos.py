"""`rushes chaos`: inject faults and check every guarantee, on this machine or on a staging system."""

from importlib import import_module
from types import ModuleType
from typing import Annotated

import typer

from cli.options import JsonOption
from stack.errors import CommandError

SeedOption = Annotated[
    str,
    typer.Option(metavar="SEED", help="Seed of the fault plan. Several seeds, separated by commas, run one by one."),
]
JobsOption = Annotated[int, typer.Option(min=1, max=10_000, help="Jobs to push per seed.")]
MinutesOption = Annotated[
    float | None,
    typer.Option(min=0.1, max=1440, help="How long to inject faults. If omitted, it depends on the number of jobs."),
]
ScenarioOption = Annotated[
    str,
    typer.Option(
        help="Kinds of faults: everything, processes, provider, lost-answers, restore, outputs, pushes or callbacks."
    ),
]
DatabaseOption = Annotated[
    str | None, typer.Option(metavar="URL", help="Your own Postgres server. A database is created there and dropped.")
]
RedisOption = Annotated[
    str | None, typer.Option(metavar="URL", help="Your own Redis, with a database number that nothing else uses.")
]
FlushOption = Annotated[
    bool, typer.Option("--flush-redis", help="Allow the run to empty the database given by --redis-url.")
]


def chaos(
    *,
    seed: SeedOption = "1",
    jobs: JobsOption = 60,
    minutes: MinutesOption = None,
    scenario: ScenarioOption = "everything",
    database_url: DatabaseOption = None,
    redis_url: RedisOption = None,
    flush_redis: FlushOption = False,
    as_json: JsonOption = False,
) -> int:
    """Inject faults into a render farm according to a plan derived from a seed, let it recover, check every guarantee.

    Real processes render against their own simulator, never with WaveSpeed, so nothing is spent. The seed decides when
    processes are killed or frozen, when Postgres and Redis fail, and which provider faults occur. Your own servers are
    not stopped: a database is created next to the one you name, its connections are cut, and it is dropped at the end.

    Examples:

        rushes chaos --seed 1,2,3 --jobs 300

        rushes chaos --scenario lost-answers --jobs 300 --json

        rushes chaos --scenario outputs --minutes 3

        rushes chaos --database-url postgresql://staging/postgres --redis-url redis://staging:6379/15 --minutes 5

    Exit codes: 0 every guarantee held, 1 one was broken, 2 the run was refused, 3 a server is away.
    """
    running = _find_chaos()
    request = running.Request(
        seeds=seed,
        jobs=jobs,
        minutes=minutes,
        scenario=scenario,
        database_url=database_url,
        redis_url=redis_url,
        flush_redis=flush_redis,
    )
    return int(running.run_chaos(request, as_json=as_json))


def _find_chaos() -> ModuleType:
    """Import the package `chaos` of a checkout. Installed packages do not contain it. Raises `CommandError`."""
    try:
        return import_module("chaos.running")
    except ModuleNotFoundError as error:
        if error.name != "chaos":
            raise
        hint = "run it from a checkout, installed with `make setup`"
        raise CommandError("rushes chaos is not part of the installed packages", hint=hint) from error
