"""The demo: its own stack in a temporary folder, the examples as one batch, and a table of the results."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from cli.api import open_api
from cli.batch_progress import open_view, wait_for_batch
from cli.commands.batch import find_folder
from cli.output import note, print_facts, show_money, show_seconds
from cli.prompt_file.jobs import Fill
from cli.prompt_file.push import load_jobs, print_warnings, push_batch
from rushes.settings import Settings
from rushes_client.connection import Connection
from stack.errors import FAILED, CommandError
from stack.interrupts import Interrupts
from stack.processes import default_settings
from stack.run import FAST, FAST_SIMULATOR, running, say
from stack.stack import Stack, StackOptions

PROMPTS = Path(__file__).resolve().parents[2] / "examples" / "prompts.jsonl"
RENDERS = "renders"
REFRESH_SECONDS = 0.5
LIMIT_SECONDS = 300.0

SETTINGS = {**FAST, "url": "http://127.0.0.1:0"}


def run_demo() -> int:
    """Run the demo and return 0 only if every job succeeded. Stops all it started and removes the temporary folder."""
    renders = Path.cwd() / RENDERS
    renders.mkdir(exist_ok=True)
    with Interrupts() as interrupts, tempfile.TemporaryDirectory(prefix="rushes-demo-") as folder:
        settings = default_settings(artifacts_url=renders.as_uri(), **SETTINGS)
        options = StackOptions(
            folder=Path(folder),
            flower_port=0,
            simulator_port=0,
            why_simulated="WAVESPEED_API_KEY is not used here" if os.environ.get("WAVESPEED_API_KEY") else "demo",
            simulator_options=(*FAST_SIMULATOR, "--show-prompts", "yes"),
        )
        stack = Stack(settings, options, say=say, interrupts=interrupts)
        with running(stack):
            say(f"API {stack.settings.url}, Flower {stack.flower_url} (user {settings.flower_user})")
            ended, seen = _render(stack)
        _print_result(ended, seen=seen, settings=stack.settings)
        rushes = "rushes" if shutil.which("rushes") else Path(sys.executable).with_name("rushes")
        note(f"next: `{rushes} up --fast` keeps a farm running; `{rushes} submit FILE --wait` renders your prompts")
    return 0 if ended["states"]["succeeded"] == ended["jobs"] else FAILED


def _render(stack: Stack) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the ended batch, and the simulator's statistics about it."""
    file, prepared = load_jobs(str(PROMPTS), fill=Fill(), settings=stack.settings)
    name = f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    with open_api(stack.settings) as client:
        pushed = push_batch(client, name, file=file, prepared=prepared)
        print_warnings(pushed, prepared)
        note(f"batch {name}: {pushed['jobs']} jobs, {show_money(pushed['cost']['estimated'])} estimated")
        rest = _rest_until(stack, time.monotonic() + LIMIT_SECONDS)
        with open_view() as view:
            ended = wait_for_batch(client, name, view=view, every=REFRESH_SECONDS, pause=rest)
        _print_failures(client, ended)
    return ended, _ask_simulator(stack.settings)


def _rest_until(stack: Stack, deadline: float) -> Callable[[float], None]:
    """Return a function that waits like the stack's own, but raises after the deadline."""

    def rest(seconds: float) -> None:
        if time.monotonic() > deadline:
            raise CommandError(
                f"the demo did not end in {LIMIT_SECONDS:g} s", hint="check whether the machine does other work"
            )
        stack.rest(seconds)

    return rest


def _print_failures(client: Connection, ended: dict[str, Any]) -> None:
    for job in client.list_items("jobs", limit=10, batch=ended["id"], state="failed"):
        note(f"job {job['number']} failed: {(job['error'] or {}).get('message')}")


def _ask_simulator(settings: Settings) -> dict[str, Any]:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"{settings.wavespeed_url}/sim/stats", timeout=10)
        answer.raise_for_status()
        stats: dict[str, Any] = answer.json()
        return stats


def _print_result(ended: dict[str, Any], *, seen: dict[str, Any], settings: Settings) -> None:
    states = ended["states"]
    requests_by_kind = ", ".join(f"{count} {kind}" for kind, count in sorted(seen["requests"].items()) if count)
    print_facts(
        {
            "jobs": ended["jobs"],
            "succeeded": states["succeeded"],
            "failed": states["failed"] + states["cancelled"],
            "spent": f"{show_money(ended['cost']['spent'])} (simulated)",
            "mean": f"{ended['mean_seconds']:.1f} s from push to file" if ended["mean_seconds"] else "",
            "elapsed": show_seconds(ended["elapsed_seconds"]),
            "requests to the provider": requests_by_kind,
            "folder": find_folder(ended, settings),
        }
    )
