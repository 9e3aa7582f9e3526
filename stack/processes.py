"""The command line and the environment of every process, as `rushes up` runs it and a deployment must run it."""

import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from rushes.settings import Settings

LOOPBACK = "127.0.0.1"
CELERY = ("celery", "-A", "workers.app")
STEP_QUEUES = ("submit", "reconcile", "watch", "resume", "report")
STORE_QUEUES = ("store",)
DELIVER_QUEUES = ("deliver",)
DELIVER_CONNECTIONS = 2
"""A callback needs a connection only for two short statements."""
OPEN_FILES = 1024
FLOWER_TASKS = 5_000
"""Tasks that Flower keeps in memory; the history is in the database."""
FLOWER_COLUMNS = "received,uuid,state,result,exception,runtime,name,worker"
_FOREIGN = ("RUSHES_", "WAVESPEED_", "FLOWER_", "CELERY_")
"""Variables that would override the settings of a process; CELERY_BROKER_URL, for example, names another broker."""

_PROVIDER_KEY = "WAVESPEED_API_KEY"
_WITHHELD = ("RUSHES_FLOWER_PASSWORD", "RUSHES_API_KEY", "RUSHES_API_HEADERS")
"""No process needs these: Flower gets its password in FLOWER_BASIC_AUTH, and only the command line calls the API."""


def api_command(*, host: str, port: int) -> list[str]:
    """The HTTP API, as one process; run any number of them behind a load balancer."""
    address = ["--host", host, "--port", str(port)]
    return ["uvicorn", "--factory", "api.app:create_app", *address, "--no-access-log", "--no-proxy-headers"]


def shared_api_command(descriptor: int) -> list[str]:
    """The HTTP API, as one of several processes that share a listening socket."""
    return ["api.serve", str(descriptor)]


def step_worker_command(settings: Settings, *, number: int = 1) -> list[str]:
    """A worker for steps that take seconds: submissions and checks. Run any number of them."""
    threads = settings.count_submit_threads() + settings.watch_threads
    return _worker_command(f"main{number}", queues=STEP_QUEUES, threads=threads)


def store_worker_command(settings: Settings) -> list[str]:
    """A worker for downloads. They may take long, so a separate worker runs them and they never delay a submission."""
    return _worker_command("store", queues=STORE_QUEUES, threads=settings.count_store_threads())


def deliver_worker_command(settings: Settings) -> list[str]:
    """A worker for callbacks. Receivers may hang, so a separate worker calls them and they delay nothing else."""
    return _worker_command("deliver", queues=DELIVER_QUEUES, threads=settings.deliver_threads)


def flower_command(*, port: int, address: str = LOOPBACK) -> list[str]:
    """Flower, read-only. FLOWER_BASIC_AUTH holds its login, because every user can read the command line.

    FLOWER_URL_PREFIX holds the path below which it is served.
    """
    limits = ["--read_only=True", f"--max_tasks={FLOWER_TASKS}", f"--tasks_columns={FLOWER_COLUMNS}"]
    return [*CELERY, "flower", f"--address={address}", f"--port={port}", *limits]


def simulator_command(settings: Settings, *, port: int, api_key: str, journal: Path) -> list[str]:
    """The simulator of the provider. Its account has the limits from the settings; its key has no value."""
    limits = ["--slots", str(settings.slots), "--submits-per-minute", str(settings.submits_per_minute)]
    renders = ["--median", f"{settings.render_median_seconds:g}"]
    words = ["sandbox.wavespeed", "--host", LOOPBACK, "--port", str(port), "--api-key", api_key]
    return [*words, *limits, *renders, "--journal", str(journal)]


def run_as_module(command: Sequence[str]) -> list[str]:
    """The same command, run by the current Python interpreter, so that PATH does not decide which one runs."""
    return [sys.executable, "-m", *command]


def _worker_command(name: str, *, queues: Sequence[str], threads: int) -> list[str]:
    pool = ["--pool", "threads", "-c", str(threads)]
    quiet = ["--without-gossip", "--without-mingle"]  # workers communicate through rows, not with each other
    return [*CELERY, "worker", *pool, "-Q", ",".join(queues), "-n", f"{name}@%h", *quiet]


def spell_settings(settings: Settings) -> dict[str, str]:
    """The settings as environment variables; unset ones are left out."""
    spelled = {}
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if value is not None:
            alias = field.validation_alias
            spelled[alias if isinstance(alias, str) else f"RUSHES_{name.upper()}"] = _spell(value)
    return spelled


def allow_open_files() -> None:
    """Let this process and its children open as many files as on Linux. macOS allows 256, too few for downloads."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < OPEN_FILES and not 0 <= hard < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))


def process_environment(settings: Settings, base: Mapping[str, str], *, with_key: bool = False) -> dict[str, str]:
    """The environment of a process: `base` without our variables, plus the settings; the key only if `with_key`."""
    inherited = {name: value for name, value in base.items() if not name.startswith(_FOREIGN)}
    withheld = _WITHHELD if with_key else (*_WITHHELD, _PROVIDER_KEY)
    spelled = {name: value for name, value in spell_settings(settings).items() if name not in withheld}
    return inherited | {"PYTHONUNBUFFERED": "1"} | spelled


def default_settings(**changes: Any) -> Settings:
    """The defaults with these changes; the environment is ignored."""
    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    return Settings(**(defaults | changes))


def _spell(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case bool():
            return str(value).lower()
        case Path():
            return str(value.absolute())
        case _:
            return str(value)
