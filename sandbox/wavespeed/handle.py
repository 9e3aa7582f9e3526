"""A running simulator for tests and benchmarks, as a separate process on a free port of this machine."""

import contextlib
import json
import os
import secrets
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import urllib3

READY_SECONDS = 30.0
STOP_SECONDS = 10.0
PROJECT = Path(__file__).parents[2]


class SimulatorFailed(RuntimeError):
    """The simulator did not start or refused a command; the message includes its output."""


class Simulator:
    """Starts and stops `python -m sandbox.wavespeed`.

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
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None

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
        if self._process is None:
            raise SimulatorFailed("the simulator is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers. After `stop` it can be started again, on another port."""
        folder = self._held.enter_context(tempfile.TemporaryDirectory(prefix="simulator-"))
        self._errors = self._held.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115 - closed with the others
        self._process = self._held.enter_context(
            subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "sandbox.wavespeed", *self._arguments],
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        )
        line = _read_line(self._process.stdout)
        try:
            self.url = json.loads(line)["url"]
        except ValueError:
            said = self.log()
            self.kill()
            raise SimulatorFailed(f"the simulator did not start: {said.strip() or 'it printed nothing'}") from None

    def stop(self) -> None:
        """Stop it cleanly; does nothing if it has already stopped."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kill it without warning, like a power cut."""
        if self._process is not None:
            self._process.kill()
        self._held.close()
        self._process = self._errors = None
        self._http.clear()

    def log(self) -> str:
        """Its standard error output so far."""
        if self._errors is None:
            return ""
        self._errors.seek(0)
        return self._errors.read()

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
        if self._process is not None and (status := self._process.poll()) is not None:
            raise SimulatorFailed(f"the simulator has ended with status {status}: {self.log().strip()}")
        answer = self._http.request(method, self.url + path, json=body)
        content = answer.json()
        if answer.status != 200:
            raise SimulatorFailed(content["message"])
        return content


def _read_line(output: IO[str] | None) -> str:
    """The first line of the output; empty if it ended or took too long."""
    return output.readline() if output and select.select([output], [], [], READY_SECONDS)[0] else ""


def _environment(folder: str) -> dict[str, str]:
    """Our environment, with TMPDIR in a folder that the handle removes, so that nothing is left even after a kill."""
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "TMPDIR": folder, "PYTHONPATH": path}


def _arguments(options: Mapping[str, object], faults: Mapping[str, Any]) -> list[str]:
    arguments = [f"--fault={name}={json.dumps(rule)}" for name, rule in faults.items()]
    for name, value in options.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        arguments.extend(f"--{name.replace('_', '-')}={each}" for each in values)
    return arguments
