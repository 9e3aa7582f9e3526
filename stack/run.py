"""Run a stack in the foreground: start it, print its addresses, supervise it, stop it."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rushes.settings import API_KEY_FILE, load_settings
from stack.data_folder import hold_folder, remove_services, write_services
from stack.errors import CommandError
from stack.interrupts import Interrupted, Interrupts
from stack.processes import spell_settings
from stack.stack import Stack, StackOptions

FAST = {"slots": 12, "submits_per_minute": 600, "render_median_seconds": 4.0, "poll_shortest_seconds": 0.5}
FAST_SIMULATOR = ("--cap", "12")
"""A high-tier account and fast renders. At the lowest tier, 24 prompts take at least twelve minutes."""
FOREVER_SECONDS = 3600.0
FOLLOW_SECONDS = 0.2
SERVICES = [
    "RUSHES_DATABASE_URL",
    "RUSHES_DATABASE_DIRECT_URL",
    "RUSHES_DATABASE_OPERATOR",
    "RUSHES_REDIS_URL",
    "RUSHES_URL",
    "RUSHES_ARTIFACTS_URL",
    "RUSHES_WAVESPEED_URL",
]


def run_stack(*, fast: bool, verbose: bool, **options: Any) -> int:
    """Implements `rushes up` with these `StackOptions`. Returns 0 after Ctrl-C.

    If the start fails, it stops everything and raises the error.
    """
    settings = load_settings(running_stack=False)
    if fast and not settings.uses_simulator:
        hint = "unset WAVESPEED_API_KEY for a trial, or start without --fast"
        raise CommandError("--fast works only with simulated renders, but WAVESPEED_API_KEY is set", hint=hint)
    settings = settings.with_changes(**FAST) if fast else settings
    chosen = StackOptions(folder=settings.data_dir, simulator_options=FAST_SIMULATOR if fast else (), **options)
    with hold_folder(settings.data_dir), Interrupts() as interrupts:
        stack = Stack(settings, chosen, say=say, interrupts=interrupts)
        with contextlib.suppress(Interrupted, KeyboardInterrupt), running(stack, verbose=verbose):
            print_addresses(stack)
            while True:
                stack.rest(FOREVER_SECONDS)
    return 0


@contextlib.contextmanager
def running(stack: Stack, *, verbose: bool = False) -> Iterator[None]:
    """Run the stack for the duration of the block. No process of it runs afterwards, whatever happens."""
    follower = LogFollower(stack.logs, say)
    try:
        if verbose:
            follower.start()
        say(f"starting; logs go to {stack.logs}")
        stack.start()
        write_services(stack.settings.data_dir, _list_services(stack))
        yield
    finally:
        say("stopping")
        remove_services(stack.settings.data_dir)
        stack.stop()
        follower.stop()
        say("stopped")


def print_addresses(stack: Stack) -> None:
    """Print the address of each service to stdout, one per line."""
    settings = stack.settings
    password = stack.password_file or "RUSHES_FLOWER_PASSWORD"
    lines = [
        f"API      {settings.url}",
        f"key      {settings.data_dir / API_KEY_FILE}",
        f"docs     {settings.url}/docs",
        f"Flower   {stack.flower_url} (user {settings.flower_user}, password in {password})",
        f"videos   {settings.get_artifacts_url()}",
        "ready; Ctrl-C stops everything",
    ]
    with contextlib.suppress(OSError, ValueError):  # the reader of stdout may be gone
        print("\n".join(lines), flush=True)


def say(message: str) -> None:
    """Print a line about the stack to stderr. A closed terminal does not stop the stack."""
    with contextlib.suppress(OSError, ValueError):
        print(message, file=sys.stderr, flush=True)


def _list_services(stack: Stack) -> dict[str, str]:
    """The variables that other commands in this folder need. The key of a paid account is never written to disk."""
    spelled = spell_settings(stack.settings)
    names = [*SERVICES, "WAVESPEED_API_KEY"] if stack.simulates else SERVICES
    return {name: spelled[name] for name in names if name in spelled}


class LogFollower(threading.Thread):
    """`--verbose`: shows the logs live, each line with the name of its process.

    Follows every `*.log` in a folder from its current end, in its own thread.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        super().__init__(name="log-follower", daemon=True)
        self._folder = folder
        self._say = say
        self._places = {path: path.stat().st_size for path in folder.glob("*.log")}
        self._rests: dict[Path, bytes] = {}
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Show the remaining lines, then stop."""
        self._stopping.set()
        if self.ident is not None:  # it was started
            self.join()

    def run(self) -> None:
        """Forward new lines until `stop`."""
        while not self._stopping.wait(FOLLOW_SECONDS):
            self._forward()
        self._forward()

    def _forward(self) -> None:
        for path in sorted(self._folder.glob("*.log")):
            for line in self._read_lines(path):
                self._say(f"{path.stem:<13} | {line}")

    def _read_lines(self, path: Path) -> list[str]:
        place = self._places.get(path, 0)
        try:
            with path.open("rb") as file:
                place = place if place <= path.stat().st_size else 0  # the log was rotated: start at 0
                file.seek(place)
                new = file.read()
        except OSError:
            return []
        self._places[path] = place + len(new)
        *whole, rest = (self._rests.get(path, b"") + new).split(b"\n")
        self._rests[path] = rest
        return [line.decode(errors="replace") for line in whole]
