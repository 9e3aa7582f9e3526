"""All services that render on one machine, started in the order of their dependencies."""

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import requests

from rushes.monitoring.broker import find_broker_fault
from rushes.settings import Settings
from sandbox.servers import EmbeddedPostgres, EmbeddedRedis
from sandbox.servers.embedded import EmbeddedServer
from sandbox.servers.folder import tail_log
from sandbox.servers.ports import PortHold
from sandbox.servers.postgres import NAME as SUPERUSER
from stack import processes
from stack.data_folder import ensure_api_key, get_flower_password
from stack.errors import CommandError
from stack.interrupts import Interrupts
from stack.migrations import migrate
from stack.ports import find_free_port, read_listen_address, web_url
from stack.services import ProcessService, ServerService
from stack.supervisor import PAUSE_SECONDS, Say, Supervisor

SIMULATOR_KEY = "simulator"
READY_SECONDS = 90.0
ASK_SECONDS = 2.0
BACKLOG = 2048


class Wave(IntEnum):
    """Services of one wave are stopped together, in this order: a service stops before those that it depends on."""

    API = 0
    WORKERS = 1
    FLOWER = 2
    SIMULATOR = 3
    REDIS = 4
    POSTGRES = 5


PATIENCE_SECONDS = {Wave.API: 30.0, Wave.WORKERS: 100.0, Wave.FLOWER: 30.0, Wave.SIMULATOR: 30.0}

# Flower has no state to save, and after SIGTERM it would wait for a thread that keeps listening.
STOP_SIGNALS = {Wave.FLOWER: signal.SIGKILL}


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """Options for running a stack, in addition to the settings."""

    folder: Path
    workers: int = 1
    api_processes: int = 1
    port: int | None = None
    flower_port: int = 5555
    simulator_port: int = 8900
    why_simulated: str = "no WAVESPEED_API_KEY"
    simulator_options: Sequence[str] = ()


class Stack:
    """Servers, simulator, API, workers and Flower under one supervisor.

    `start` adds addresses to `settings`; afterwards they hold the address of every service.
    """

    def __init__(self, settings: Settings, options: StackOptions, *, say: Say, interrupts: Interrupts) -> None:
        self.settings = settings.with_changes(
            data_dir=options.folder.absolute(), artifacts_url=settings.get_artifacts_url()
        )
        self.options = options
        self.flower_url = ""
        self.key = ""
        self.password_file: Path | None = None
        self.simulates = settings.uses_simulator
        self._say = say
        self._interrupts = interrupts
        self._supervisor = Supervisor(say)
        self._ports: set[int] = set()
        self._listener: socket.socket | None = None  # shared by the processes of the API
        self._hold = PortHold()  # a process listens seconds after its port was chosen, and restarts on the same port

    @property
    def logs(self) -> Path:
        """The folder that holds the logs of all services."""
        return self.settings.data_dir / "logs"

    def start(self) -> None:
        """Start everything and wait until it is ready. Raises `CommandError` or `Interrupted`; `stop` cleans up."""
        processes.allow_open_files()
        self._start_servers()
        self._interrupts.check()
        migrate(self.settings.get_listen_url())
        self.key = ensure_api_key(self.settings)
        self._start_provider()
        self._start_api()
        self._start_workers()
        self._start_flower()
        if self.simulates:
            self._wait("simulator", lambda: _answers(f"{self.settings.wavespeed_url}/sim/stats"))
        readiness = f"{self.settings.url}/readyz"
        self._wait("api", lambda: _answers(readiness, lambda answer: answer.ok))  # it can accept jobs
        if self.options.workers:  # before a worker leads, jobs would seem to be stuck
            self._wait("worker-main1", lambda: _answers(readiness, _is_led, key=self.key))
        self._wait("flower", lambda: _answers(self.flower_url))

    def tend(self) -> None:
        """One round of supervision. Without it the stack still works, but no service is restarted."""
        self._supervisor.tend()

    def rest(self, seconds: float) -> None:
        """Wait, and supervise meanwhile. Raises `Interrupted`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._interrupts.check()
            self.tend()
            time.sleep(PAUSE_SECONDS)

    def stop(self) -> None:
        """Stop everything that was started, in order. A second interrupt kills the services at once."""
        self._interrupts.is_blocking = False
        self._supervisor.stop(is_forced=lambda: self._interrupts.is_forced)
        if self._listener is not None:
            self._listener.close()
        self._hold.release()

    def _start_servers(self) -> None:
        if self.settings.database_url is None:
            postgres = EmbeddedPostgres(self.settings.data_dir / "postgres")
            self._start_server(postgres, wave=Wave.POSTGRES)
            changes = {"database_url": postgres.application_url, "database_operator": SUPERUSER}
            self.settings = self.settings.with_changes(**changes)
        self._interrupts.check()
        if self.settings.redis_url is None:
            redis = EmbeddedRedis(self.settings.data_dir / "redis")
            self._start_server(redis, wave=Wave.REDIS)
            self.settings = self.settings.with_changes(redis_url=redis.url)
        elif fault := find_broker_fault(self.settings.get_redis_url(), ca_file=self.settings.ca_file):
            if fault.is_final:
                raise CommandError(f"Redis at {fault.message}", hint=fault.advice)
            self._say(f"warning: Redis at {fault.message}; jobs are accepted, but wait for it")

    def _start_server(self, server: EmbeddedServer, *, wave: Wave) -> None:
        """Start on a free port; a restart must use the same one, since the other services know its address."""
        self._interrupts.is_blocking = True
        self._supervisor.start(ServerService(server, wave=wave, log=server.folder / "server.log"))
        self._interrupts.is_blocking = False

    def _start_provider(self) -> None:
        if not self.simulates:
            self._say(f"rendering with WaveSpeed at {self.settings.wavespeed_url}, this costs money")
            return
        home = self.settings.data_dir / "simulator"
        port = self._choose_port(processes.LOOPBACK, self.options.simulator_port, who="the simulator")
        scratch = home / "scratch"  # a killed simulator leaves its temporary files behind
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700, parents=True)
        command = processes.simulator_command(self.settings, port=port, api_key=SIMULATOR_KEY, journal=home / "journal")
        command += self.options.simulator_options
        self.settings = self.settings.with_changes(
            wavespeed_api_key=SIMULATOR_KEY, wavespeed_url=web_url(processes.LOOPBACK, port)
        )
        environment = processes.process_environment(self.settings, os.environ) | {"TMPDIR": str(scratch)}
        self._start_process("simulator", command, environment=environment, wave=Wave.SIMULATOR)
        self._say(f"{self.options.why_simulated}: rendering with the simulator, nothing is spent")

    def _start_api(self) -> None:
        host, wanted = read_listen_address(self.settings.url, port=self.options.port)
        port = self._choose_port(host, wanted, who="the API")
        self.settings = self.settings.with_changes(url=web_url(host, port))
        if self.simulates and self.settings.public_url is None:
            self.settings = self.settings.with_changes(public_url=self.settings.url)
        # The API needs the key only if it receives webhooks: it asks the provider for their signing secret.
        with_key = self.settings.public_url is not None
        environment = processes.process_environment(self.settings, os.environ, with_key=with_key)
        if self.options.api_processes == 1:
            command = processes.api_command(host=host, port=port)
            self._start_process("api", command, environment=environment, wave=Wave.API)
            return
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        shared = self._listener.fileno()
        command = processes.shared_api_command(shared)
        for number in range(1, self.options.api_processes + 1):
            name = f"api{number}"
            self._start_process(name, command, environment=environment, wave=Wave.API, sockets=[shared])

    def _start_workers(self) -> None:
        environment = processes.process_environment(self.settings, os.environ, with_key=True)
        few = self.settings.with_changes(database_connections=processes.DELIVER_CONNECTIONS)
        self._start_process(
            "worker-deliver",
            processes.deliver_worker_command(self.settings),
            environment=processes.process_environment(few, os.environ),
            wave=Wave.WORKERS,
        )
        commands = {"store": processes.store_worker_command(self.settings)}
        for number in range(1, self.options.workers + 1):
            commands[f"main{number}"] = processes.step_worker_command(self.settings, number=number)
        for name, command in commands.items():
            self._start_process(f"worker-{name}", command, environment=environment, wave=Wave.WORKERS)

    def _start_flower(self) -> None:
        secret = self.settings.flower_password
        if secret is None:
            password, self.password_file = get_flower_password(self.settings.data_dir)
        else:
            password = secret.get_secret_value()
        if "," in password or ":" in self.settings.flower_user or "," in self.settings.flower_user:
            raise CommandError("RUSHES_FLOWER_USER and RUSHES_FLOWER_PASSWORD: Flower takes no commas, nor : in a user")
        port = self._choose_port(processes.LOOPBACK, self.options.flower_port, who="Flower")
        prefix = self.settings.flower_url_prefix
        self.flower_url = web_url(processes.LOOPBACK, port) + (f"/{prefix}/" if prefix else "")
        options = {"FLOWER_BASIC_AUTH": f"{self.settings.flower_user}:{password}", "FLOWER_URL_PREFIX": prefix}
        environment = processes.process_environment(self.settings, os.environ) | options
        self._start_process("flower", processes.flower_command(port=port), environment=environment, wave=Wave.FLOWER)

    def _start_process(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: dict[str, str],
        wave: Wave,
        sockets: Sequence[int] = (),
    ) -> None:
        self._interrupts.check()
        service = ProcessService(
            name=name,
            words=processes.run_as_module(command),
            environment=environment,
            log=self.logs / f"{name}.log",
            wave=wave,
            patience_seconds=PATIENCE_SECONDS[wave],
            stop_signal=STOP_SIGNALS.get(wave, signal.SIGTERM),
            sockets=sockets,
        )
        self._supervisor.start(service)

    def _choose_port(self, host: str, wanted: int, *, who: str) -> int:
        while not self._hold.take(port := find_free_port(host, wanted, taken=self._ports), host=host):
            self._ports.add(port)  # another stack that starts now has chosen it
        if wanted and port != wanted:
            self._say(f"port {wanted} is in use: {who} listens at {port} instead")
        self._ports.add(port)
        return port

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not condition():
            self._interrupts.check()
            if (ended := self._supervisor.find_ended()) is not None:
                raise _describe_failure(ended.name, how=f"ended ({ended.find_ending()})", log=ended.log)
            if time.monotonic() > deadline:
                raise _describe_failure(
                    what, how=f"gave no answer in {READY_SECONDS:g} s", log=self.logs / f"{what}.log"
                )
            time.sleep(PAUSE_SECONDS)


def _describe_failure(what: str, *, how: str, log: Path) -> CommandError:
    return CommandError(
        f"{what} {how} before the stack was ready; the last lines of {log}:\n{tail_log(log)}",
        hint="the lines above say why",
    )


def _is_led(answer: requests.Response) -> bool:
    """Whether a worker leads, so that jobs get slots."""
    return answer.json().get("dispatcher") is not None


def _answers(
    url: str, is_enough: Callable[[requests.Response], bool] = lambda it: it.status_code < 500, *, key: str = ""
) -> bool:
    """Whether a GET, with this API key if there is one, gets an answer that is enough. A login page is."""
    headers = {"Authorization": f"Bearer {key}"} if key else None
    try:
        with requests.Session() as session:
            session.trust_env = False
            return is_enough(session.get(url, headers=headers, timeout=ASK_SECONDS, allow_redirects=False))
    except requests.RequestException:  # also if it is no JSON
        return False
