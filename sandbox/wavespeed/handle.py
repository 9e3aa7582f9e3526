"""A running simulator for tests and benchmarks, as a separate process on a free port of this machine.

One server process loads the code, and forks each simulator: loading the code takes longer than many tests.
"""

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import urllib3

from sandbox.wavespeed.__main__ import main

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["sandbox.wavespeed.handle", "sandbox.wavespeed.http.server", "sandbox.wavespeed.videos"]
)

READY_SECONDS = 30.0
STOP_SECONDS = 10.0
PROJECT = Path(__file__).parents[2]


class SimulatorFailed(RuntimeError):
    """The simulator did not start or refused a command; the message includes its output."""


class Simulator:
    """Starts and stops a process that runs `python -m sandbox.wavespeed`.

    The options are those of the command, with underscores: `Simulator(slots=3, speed=200, overflow="refuse")`. `faults`
    maps names to a probability or a rule. Raises `SimulatorFailed` if it does not answer within `READY_SECONDS`.

        with Simulator(speed=100) as simulator:
            client = Client(simulator.url, simulator.api_key)
    """

    def __init__(
        self, *, api_key: str | None = None, faults: Mapping[str, Any] | None = None, **options: object
    ) -> None:
        self.api_key = api_key or f"wsk_{secrets.token_hex(8)}"
        self.url = ""
        self._arguments = _arguments({**options, "api_key": self.api_key}, faults or {})
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(total=60))
        self._held = contextlib.ExitStack()  # the process, its log and its folder
        self._process: BaseProcess | None = None
        self._errors: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the running simulator."""
        if self._process is None or self._process.pid is None:
            raise SimulatorFailed("the simulator is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers. After `stop` it can be started again, on another port."""
        folder = Path(self._held.enter_context(tempfile.TemporaryDirectory(prefix="simulator-")))
        self._errors = folder / "stderr"
        self._errors.touch()
        reader, writer = PROCESSES.Pipe(duplex=False)
        with reader, writer:
            self._process = PROCESSES.Process(target=_run, args=(self._arguments, folder, writer), daemon=True)
            self._process.start()
            writer.close()
            line = _read_line(reader)
        try:
            self.url = json.loads(line)["url"]
        except ValueError:
            self._process.join(STOP_SECONDS)
            said = self.log()
            self.kill()
            raise SimulatorFailed(f"the simulator did not start: {said.strip() or 'it printed nothing'}") from None

    def stop(self) -> None:
        """Stop it cleanly; does nothing if it has already stopped."""
        if self._process is not None:
            self._process.terminate()
            self._process.join(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kill it without warning, like a power cut."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._held.close()
        self._process = self._errors = None
        self._http.clear()

    def log(self) -> str:
        """Its standard error output so far."""
        return self._errors.read_text() if self._errors else ""

    def set_fault(self, name: str, **rule: object) -> None:
        """Switch a fault on: `set_fault("submit_504", probability=0.1, count=2)`; without a rule it always strikes."""
        self._control("PUT", "/sim/faults", body={name: rule})

    def clear_fault(self, name: str) -> None:
        self._control("DELETE", f"/sim/faults/{name}")

    def clear_faults(self) -> None:
        self._control("DELETE", "/sim/faults")

    def faults(self) -> dict[str, Any]:
        """The active faults: their rules, and under `fired` how often they have struck."""
        active: dict[str, Any] = self._control("GET", "/sim/faults")["active"]
        return active

    def stats(self) -> dict[str, Any]:
        """The counters."""
        stats: dict[str, Any] = self._control("GET", "/sim/stats")
        return stats

    def tasks(self) -> list[dict[str, Any]]:
        """All tasks ever accepted, in order of acceptance."""
        tasks: list[dict[str, Any]] = self._control("GET", "/sim/tasks")
        return tasks

    def times(self) -> list[tuple[str, float, float | None, float | None]]:
        """For every task ever accepted, in order of acceptance: id, and times of acceptance, start and end."""
        return [
            (task, accepted, started, ended) for task, accepted, started, ended in self._control("GET", "/sim/times")
        ]

    def _control(self, method: str, path: str, *, body: Mapping[str, object] | None = None) -> Any:
        if self._process is not None and (status := self._process.exitcode) is not None:
            raise SimulatorFailed(f"the simulator has ended with status {status}: {self.log().strip()}")
        answer = self._http.request(method, self.url + path, json=body)
        content = answer.json()
        if answer.status != 200:
            raise SimulatorFailed(content["message"])
        return content


def _run(arguments: list[str], folder: Path, output: Connection) -> None:
    """Run the command with these options. Its files go to `folder`, which the handle removes even after a kill."""
    with (folder / "stderr").open("a") as errors:
        os.dup2(errors.fileno(), 2)
    os.dup2(output.fileno(), 1)
    output.close()
    tempfile.tempdir = str(folder)
    main(arguments)


def _read_line(output: Connection) -> bytes:
    """The first line of the output; empty if it ended or took too long."""
    return b"" if not output.poll(READY_SECONDS) else os.read(output.fileno(), 4096)


def _arguments(options: Mapping[str, object], faults: Mapping[str, Any]) -> list[str]:
    arguments = [f"--fault={name}={json.dumps(rule)}" for name, rule in faults.items()]
    for name, value in options.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        arguments.extend(f"--{name.replace('_', '-')}={each}" for each in values)
    return arguments
