"""The command line and the environment of every process: what `rushes up` runs and what a deployment must run."""

import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from rushes.settings import Settings

LOOPBACK = "127.0.0.1"
CELERY = ("celery", "-A", "workers.app")
STEP_QUEUES = ("submit", "reconcile", "watch", "resume", "report")
STORE_QUEUES = ("store",)
FLOWER_TASKS = 5_000
"""Tasks that Flower keeps in memory; the history is in the database."""
_FOREIGN = ("RUSHES_", "WAVESPEED_", "FLOWER_", "CELERY_")
"""Variables that would change a process behind the settings' back: CELERY_BROKER_URL, for one, names another broker."""

_PROVIDER_KEY = "WAVESPEED_API_KEY"


def api_command(*, host: str, port: int) -> list[str]:
    """The HTTP API; one process, as many as wanted behind a balancer."""
    address = ["--host", host, "--port", str(port)]
    return ["uvicorn", "--factory", "api.app:create_app", *address, "--no-access-log"]


def step_worker_command(settings: Settings, *, number: int = 1) -> list[str]:
    """A worker for steps of seconds: submits and checks. Any number of them."""
    threads = settings.count_submit_threads() + settings.watch_threads
    return _worker_command(f"main{number}", queues=STEP_QUEUES, threads=threads)


def store_worker_command(settings: Settings) -> list[str]:
    """A worker for downloads, which may last: apart from the rest, so that they never starve a submit."""
    return _worker_command("store", queues=STORE_QUEUES, threads=settings.store_threads)


def flower_command(*, port: int, address: str = LOOPBACK) -> list[str]:
    """Flower, read-only. Its login comes by FLOWER_BASIC_AUTH, never by the command line, which everybody can see."""
    limits = ["--read_only=True", f"--max_tasks={FLOWER_TASKS}"]
    return [*CELERY, "flower", f"--address={address}", f"--port={port}", *limits]


def simulator_command(
    settings: Settings, *, port: int, api_key: str, journal: Path, longest_seconds: float = 600
) -> list[str]:
    """The provider's stand-in, with an account whose limits are those of the settings. Its key is worth nothing."""
    limits = ["--slots", str(settings.slots), "--submits-per-minute", str(settings.submits_per_minute)]
    renders = ["--median", f"{settings.render_median_seconds:g}", "--cap", f"{longest_seconds:g}"]
    words = ["sandbox.wavespeed", "--host", LOOPBACK, "--port", str(port), "--api-key", api_key]
    return [*words, *limits, *renders, "--journal", str(journal)]


def run_as_module(command: Sequence[str]) -> list[str]:
    """The same command under this very Python, so that no PATH decides which one runs."""
    return [sys.executable, "-m", *command]


def _worker_command(name: str, *, queues: Sequence[str], threads: int) -> list[str]:
    pool = ["--pool", "threads", "-c", str(threads)]
    quiet = ["--without-gossip", "--without-mingle"]  # workers talk through rows, not to each other
    return [*CELERY, "worker", *pool, "-Q", ",".join(queues), "-n", f"{name}@%h", *quiet]


def spell_settings(settings: Settings) -> dict[str, str]:
    """Settings as the variables they are read from; the unset ones are left out."""
    spelled = {}
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if value is not None:
            alias = field.validation_alias
            spelled[alias if isinstance(alias, str) else f"RUSHES_{name.upper()}"] = _spell(value)
    return spelled


def process_environment(settings: Settings, base: Mapping[str, str], *, with_key: bool = False) -> dict[str, str]:
    """The environment of a process: `base` without what is ours, and the settings. The key only goes where it is used.

    Flower's password goes nowhere: Flower gets it in its own way.
    """
    inherited = {name: value for name, value in base.items() if not name.startswith(_FOREIGN)}
    spelled = spell_settings(settings)
    spelled.pop("RUSHES_FLOWER_PASSWORD", None)
    if not with_key:
        spelled.pop(_PROVIDER_KEY, None)
    return inherited | {"PYTHONUNBUFFERED": "1"} | spelled


def default_settings(**changes: Any) -> Settings:
    """The defaults with some replaced, whatever the environment says."""
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
        case Enum():
            return str(value.value)
        case _:
            return str(value)
