"""Rushes as the victim: the API, two workers with a dispatcher each, and a store worker, as real processes."""

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from chaos.plan import Plan, Push
from chaos.queries import count_states, find_last_leader, hasten_stores
from chaos.victim import Member, Victim
from cli.api import open_api
from models.db.errors import DatabaseAway
from models.db.session import open_sessions, transaction
from models.lifecycle import JOB_ENDED
from rushes.runtime import open_database
from rushes.settings import Settings
from rushes_client.connection import Connection, make_once
from rushes_client.errors import AnswerLost, ApiAway, Declined
from sandbox.servers.ports import PortHold
from sandbox.wavespeed.handle import Simulator
from stack import processes
from stack.ports import find_free_port, web_url

SLOTS = 32
"""An unconfirmed submission holds its slot until the list can be trusted; with fewer slots, unconfirmed submissions
would hold all of them."""
RENDER_SECONDS = 1.5
SUBMIT_SECONDS = 3.0
MARGIN_SECONDS = 3.0
CALLBACK_TIME_SCALE = 1 / 60
"""The waits of callbacks after failures, compared with the usual ones."""
WORKERS = ("main1", "main2")
BATCHES = "chaos"

TAKEN = 409
PUSH_SECONDS = 10.0
PAUSE_SECONDS = 0.2
MODEL = "ltx-2-fast"


def open_simulator(plan: Plan) -> Simulator:
    """The simulator of a run: it refuses submissions beyond its slots and refunds failed renders."""
    return Simulator(
        slots=SLOTS,
        submits_per_minute=3_000,
        median=RENDER_SECONDS,
        seed=plan.seed,
        overflow="refuse",
    )


def make_settings(plan: Plan, simulator: Simulator, *, urls: Mapping[str, str], folder: Path) -> Settings:
    """Settings for renders and leases of seconds, with the simulator's key; the environment is ignored."""
    url = web_url(processes.LOOPBACK, find_free_port(processes.LOOPBACK, 0))
    return processes.default_settings(
        database_url=urls["postgres"],
        redis_url=urls["redis"],
        data_dir=folder / "data",
        url=url,
        public_url=url,
        wavespeed_api_key=simulator.api_key,
        wavespeed_url=simulator.url,
        slots=SLOTS,
        submits_per_minute=3_000,
        render_median_seconds=RENDER_SECONDS,
        poll_shortest_seconds=0.2,
        submit_timeout_seconds=SUBMIT_SECONDS,
        freeze_allowance_seconds=5.0,
        url_allow=processes.LOOPBACK,
        callback_time_scale=CALLBACK_TIME_SCALE,
        list_lag_seconds=plan.list_lag + MARGIN_SECONDS,
    )


class Farm(Victim):
    """The processes of a run, the client that pushes its jobs, and a connection to its rows."""

    def __init__(self, settings: Settings, *, folder: Path, pushes_singly: bool = False) -> None:
        self.settings = settings
        self.pusher = Pusher(settings, prefix=BATCHES, pushes_singly=pushes_singly)
        self._engine = open_database(settings, connections=2, application="chaos")
        self.sessions = open_sessions(self._engine)
        port = int(settings.url.rpartition(":")[2])
        self._hold = PortHold()  # keeps the port free while the API is down: it is killed and restarts on the same port
        self._hold.take(port)
        commands = {
            "api": processes.api_command(host=processes.LOOPBACK, port=port),
            **{
                name: processes.step_worker_command(settings, number=number)
                for number, name in enumerate(WORKERS, start=1)
            },
            "store": processes.store_worker_command(settings),
            "deliver": processes.deliver_worker_command(settings),
        }
        super().__init__(
            {name: processes.run_as_module(words) for name, words in commands.items()},
            environment=processes.process_environment(settings, os.environ, with_key=True),
            logs=folder / "logs",
        )

    def find(self, target: str) -> Member | None:
        """The process in this role; a database row names the current or last leader."""
        if target in self._members:
            return self._members[target]
        with contextlib.suppress(DatabaseAway), transaction(self.sessions) as session:
            leader = (find_last_leader(session) or WORKERS[0]).split("@")[0]
            return self._members[leader if target == "leader" else next(each for each in WORKERS if each != leader)]
        return None

    def push(self, push: Push) -> None:
        """Push through the API, until the batch is stored."""
        self.pusher.push(push)

    @property
    def is_pushing(self) -> bool:
        """Whether a batch is not stored yet."""
        return self.pusher.is_pushing

    def count_ended(self) -> int | None:
        """Jobs that have ended; None while the database is away."""
        states = self.count_states()
        return None if states is None else sum(states.get(state, 0) for state in JOB_ENDED)

    def count_states(self) -> dict[str, int] | None:
        """Jobs by state; None while the database is away."""
        with contextlib.suppress(DatabaseAway), transaction(self.sessions) as session:
            return count_states(session)
        return None

    def hasten(self) -> None:
        """Run at once the downloads that wait, for up to five minutes, after a failure."""
        with contextlib.suppress(DatabaseAway), transaction(self.sessions) as session:
            hasten_stores(session)

    def close(self) -> None:
        """End every process."""
        self.pusher.close()
        self.end()
        self._hold.release()
        self._engine.dispose()


class Pusher:
    """A client with its own thread. A push is safe to repeat, by its idempotency key or by the name of its batch."""

    def __init__(self, settings: Settings, *, prefix: str, pushes_singly: bool = False) -> None:
        self._settings = settings
        self._pushes_singly = pushes_singly
        self._prefix = prefix
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rushes-chaos-pusher")
        self._pushes: list[Future[None]] = []
        self._closed = threading.Event()
        self.counts: Counter[str] = Counter()
        """Counts of pushes: answers_lost, repeated, stored_before."""

    @property
    def is_pushing(self) -> bool:
        """Whether a batch is not stored yet. Raises the error if the API refused a push for good."""
        for each in [each for each in self._pushes if each.done()]:
            each.result()
            self._pushes.remove(each)
        return bool(self._pushes)

    def push(self, push: Push) -> None:
        """Push it as soon as the earlier batches are stored; returns at once."""
        self._pushes.append(self._thread.submit(self._push, push))

    def close(self) -> None:
        """Give up the batches that are not stored yet."""
        self._closed.set()
        self._thread.shutdown(cancel_futures=True)

    def _push(self, push: Push) -> None:
        jobs = [{"model": MODEL, "input": {"prompt": prompt}} for prompt in push.prompts]
        batch = {"name": f"{self._prefix}-{push.number}", "jobs": jobs}
        path, bodies = ("jobs", jobs) if self._pushes_singly else ("batches", [batch])
        with open_api(self._settings) as client:
            for body in bodies:
                self._push_until_stored(client, path, body)

    def _push_until_stored(self, client: Connection, path: str, body: dict[str, Any]) -> None:
        once = make_once()
        while not self._try(client, path, body, once=once):
            self.counts["repeated"] += 1
            if self._closed.wait(PAUSE_SECONDS):
                return

    def _try(self, client: Connection, path: str, body: dict[str, Any], *, once: str) -> bool:
        """Whether it is stored now. Raises `Declined` if it never will be."""
        try:
            client.post(path, body=body, seconds=PUSH_SECONDS, once=once)
        except AnswerLost:
            self.counts["answers_lost"] += 1
            return False
        except ApiAway:
            return False
        except Declined as declined:
            if declined.status == TAKEN:
                self.counts["stored_before"] += 1
                return True
            if declined.status < 500:
                raise
            return False
        return True
