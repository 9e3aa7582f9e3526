"""While the provider is away, cannot be reached or refuses the account, every interface says why, and what to do."""

import contextlib
import io
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.app import main
from cli.batch_progress import PlainView
from rushes.monitoring.reports import describe_farm
from rushes.runtime import Runtime
from tests.acceptance.farm import Farm, open_farm
from tests.support.access import KEY
from tests.support.api_server import Api, serve_api
from tests.support.scripted_server import full_port
from tests.support.slow_network import slow_down, write_start

PROMPTS = [f"take {number}" for number in range(12)]
NAMED_SECONDS = 15.0
"""From the second failed request until every interface names the cause."""
OUTAGE_SECONDS = 20.0


@dataclass(frozen=True)
class Stopped:
    """A fault of the simulator or of the network, and its cause and advice as everything must show them."""

    fault: str
    words: tuple[str, ...]
    is_slow: bool = False


UNREACHABLE = (
    "the provider is unreachable (",
    "the name lookup and the provider's status page; `rushes account retry` tries now",
)
STOPS = [
    Stopped("outage", UNREACHABLE),
    Stopped("slow_lookups", (*UNREACHABLE, "Temporary failure in name resolution"), is_slow=True),
    Stopped("slow_connects", (*UNREACHABLE, "timed out"), is_slow=True),
    Stopped("no_credit", ("the account has no credit (", "top up the account, then run `rushes account retry`")),
    Stopped("key_rejected", ("the provider rejects the key (", "put a valid key of the same account")),
]


@dataclass(frozen=True)
class Interfaces:
    """Everything that a person reads about a farm."""

    farm: Farm
    api: Api
    runtime: Runtime
    switch: Path
    """Makes the network slow, see `slow_down`."""

    @contextlib.contextmanager
    def stopped(self, stop: Stopped) -> Iterator[None]:
        """While the block lasts, the farm has this fault."""
        with full_port() as deaf:
            if stop.is_slow:
                self.switch.write_text(str(deaf) if stop.fault == "slow_connects" else "")
            else:
                self.farm.simulator.set_fault(stop.fault, **({"status": 503} if stop.fault == "outage" else {}))
            yield
            self.switch.unlink(missing_ok=True)
        self.farm.simulator.clear_faults()

    def explain(self, job: object) -> dict[str, str]:
        """The text of each interface that explains why this job, or the next one, waits."""
        return {
            "batch show": run("batch", "show", "test"),
            "job show": run("job", "show", str(job)),
            "queue.report": describe_farm(self.runtime),
        }

    def read(self) -> dict[str, str]:
        """Each interface's text."""
        batch = self.api.client.get("/v1/batches/test").json()
        ((job,), *_) = self.farm.ask("SELECT id FROM job WHERE ended_at IS NULL ORDER BY state, id")
        return {
            **self.explain(job),
            "account show": run("account", "show"),
            "batch show --watch": watch(batch),
            "doctor": run("doctor"),
            "/readyz": self.api.client.get("/readyz").raise_for_status().text,
            "log": self.farm.read_logs("main", last=1_000_000),
        }

    def find_missing(self, *words: str) -> set[str]:
        """The interfaces that do not say all of these words."""
        texts = {name: " ".join(text.split()) for name, text in self.read().items()}
        return {name for name, text in texts.items() if not all(each in text for each in words)}


def run(*words: str) -> str:
    """What a command prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        main(list(words))
    return out.getvalue() + err.getvalue()


def watch(batch: dict[str, Any]) -> str:
    """What `batch show --watch` and `submit --wait` print for this answer of the API."""
    text = io.StringIO()
    PlainView(Console(file=text, width=200)).show(batch)
    return text.getvalue()


@pytest.fixture
def interfaces(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Interfaces]:
    """A farm with workers, and an API for it."""
    with open_farm(
        database_url=database_url,
        redis_url=redis_url,
        folder=tmp_path,
        slots=4,
        list_lag_seconds=1.0,
        submit_timeout_seconds=3.0,
        freeze_allowance_seconds=3.0,
    ) as farm:
        key, url = farm.simulator.api_key, farm.simulator.url
        with serve_api(database_url, tmp_path / "data", wavespeed_api_key=key, wavespeed_url=url) as api:
            for name, value in farm.environment().items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("RUSHES_URL", str(api.client.base_url))
            monkeypatch.setenv("RUSHES_API_KEY", KEY)
            monkeypatch.setenv("RUSHES_REQUEST_TIMEOUT_SECONDS", "2")
            port, switch = int(url.rpartition(":")[2]), tmp_path / "slow"
            monkeypatch.setenv("PYTHONPATH", write_start(tmp_path, port, switch))
            monkeypatch.setattr(socket, "getaddrinfo", slow_down(port, switch))
            runtime = Runtime.open(farm.settings, threads=1, application="test")
            farm.start_worker()
            farm.start_store()
            yield Interfaces(farm, api, runtime, switch)
            runtime.close()


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.fault)
def test_every_interface_names_what_stops_the_farm(interfaces: Interfaces, stop: Stopped) -> None:
    farm = interfaces.farm
    farm.push(PROMPTS)
    with interfaces.stopped(stop):
        began = time.monotonic()
        failed = "SELECT count(*) FROM account WHERE provider_failures >= 2 OR back_offs > 0"
        farm.wait_until(lambda: farm.count(failed) == 1, what="requests have failed")
        missing: list[set[str]] = []
        farm.wait_until(
            lambda: missing.append(interfaces.find_missing(*stop.words)) or not missing[-1],  # type: ignore[func-returns-value]
            what="every interface says so",
            seconds=NAMED_SECONDS,
        )
        batch = interfaces.api.client.get("/v1/batches/test").json()
        assert (batch["time_left"], batch["seconds_left"]) == (None, None)
        assert batch["time_left_unknown"] == batch["account"]["condition"]
        if not stop.is_slow:
            farm.wait_until(lambda: time.monotonic() > began + OUTAGE_SECONDS, what="the outage has lasted")
            assert interfaces.find_missing(*stop.words) == set()

    assert interfaces.api.client.post("/v1/account/retry").status_code == 200
    farm.wait_for_all()
    assert farm.count_jobs("succeeded") == len(PROMPTS)
    farm.wait_until(lambda: "account.works_again" in farm.read_logs("main"), what="the end is logged", seconds=15)
    log = farm.read_logs("main", last=1_000_000)
    assert (log.count("account.stopped"), log.count("account.works_again")) == (1, 1)
    assert "takes submissions" in run("account", "show")


WAITS: dict[str, dict[str, Any]] = {
    "paused": {},
    "no_credit": {"name": "no_credit"},
    "key_rejected": {"name": "key_rejected"},
    "provider_unreachable": {"name": "outage", "status": 503},
    "slot": {"name": "task_slow", "delay": 3_600},
}
"""The reason of a wait, and the simulator's fault that leads to it. A person pauses before the first."""
ENDLESS = {"slot", "paused"}  # reasons without a known end


def compare_waits(interfaces: Interfaces, reason: str) -> str:
    """How the interfaces disagree about the next job's wait: nothing if all give this reason with the same end."""
    ((job_id,),) = interfaces.farm.ask("SELECT id FROM job WHERE state = 'queued' ORDER BY id LIMIT 1")
    answers = [interfaces.api.client.get(path).json()["wait"] for path in (f"/v1/jobs/{job_id}", "/v1/batches/test")]
    if None in answers:
        return "the job has just got a slot"
    of_job, of_batch = ({name: wait[name] for name in ("reason", "message", "until")} for wait in answers)
    if (of_job, of_job["reason"]) != (of_batch, reason) or (of_job["until"] is None) != (reason in ENDLESS):
        return f"job {of_job}, batch {of_batch}"
    words = [*of_job["message"].split("; "), of_job["until"][11:19] if of_job["until"] else ""]
    texts = {name: " ".join(text.split()) for name, text in interfaces.explain(job_id).items()}
    missing = {name: [each for each in words if each not in text] for name, text in texts.items()}
    return str({name: each for name, each in missing.items() if each} or "")


def test_every_interface_gives_the_same_reason_and_end_of_a_wait(interfaces: Interfaces) -> None:
    farm, client = interfaces.farm, interfaces.api.client
    farm.wait_until(lambda: farm.count("SELECT count(*) FROM account") == 1, what="the account is there")
    client.post("/v1/account/pause").raise_for_status()
    farm.push(PROMPTS)
    for reason, fault in WAITS.items():
        farm.simulator.clear_faults()
        if fault:
            farm.simulator.set_fault(fault["name"], **{name: fault[name] for name in fault if name != "name"})
            client.post(f"/v1/account/{'resume' if reason == 'no_credit' else 'retry'}").raise_for_status()
        found: list[str] = []
        deadline = time.monotonic() + NAMED_SECONDS * 2
        while found[-1:] != [""]:
            assert time.monotonic() < deadline, f"{reason}: {found[-1:]}\n{farm.describe()}"
            found.append(compare_waits(interfaces, reason))
