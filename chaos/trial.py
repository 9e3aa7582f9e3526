"""One complete run, from start to report: servers, simulator, farm, faults, the wait, and the audit."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from chaos.assault import Assault, Watch
from chaos.callbacks import CallbackCheck
from chaos.farm import Farm, make_settings, open_simulator
from chaos.faults import DELIVER_FAULTS, PROCESS_FAULTS
from chaos.plan import SCENARIOS, Plan, draw_plan
from chaos.queries import count_videos
from chaos.report import Purchases, Report, Trial, read_purchases, reckon
from chaos.servers import EmbeddedServers, Servers
from cli.api import open_api
from models.db.session import transaction
from rushes.artifacts.store import open_store
from rushes.monitoring.audit import Finding, audit_files, audit_rows, compare_with_ledger
from rushes.settings import Settings
from rushes_client.connection import Connection
from rushes_client.errors import ClientError
from sandbox.servers import EmbeddedPostgres, EmbeddedRedis
from stack.data_folder import ensure_api_key
from stack.errors import CommandError
from stack.migrations import migrate

READY_SECONDS = 60.0


@contextlib.contextmanager
def open_embedded(folder: Path) -> Iterator[Servers]:
    """The run's own servers, stopped afterwards; their logs stay."""
    with EmbeddedPostgres(folder / "postgres", fsync=False) as postgres, EmbeddedRedis(folder / "redis") as valkey:
        yield EmbeddedServers(valkey, postgres)


def run_trial(trial: Trial, servers: Servers, *, folder: Path, watch: Watch) -> Report:
    """Run it in this folder and leave the logs there; no process of it is left afterwards."""
    scenario = SCENARIOS[trial.scenario]
    kinds = {*PROCESS_FAULTS, *DELIVER_FAULTS, *servers.kinds}
    plan = draw_plan(trial.seed, jobs=trial.jobs, scenario=scenario, minutes=trial.minutes, kinds=kinds)
    report = Report(trial, logs=str(folder))
    began = time.monotonic()
    migrate(servers.urls["postgres"])
    with open_simulator(plan) as simulator, CallbackCheck(seed=plan.seed) as callbacks:
        settings = make_settings(plan, simulator, urls=servers.urls, folder=folder)
        settings.data_dir.mkdir(parents=True)
        ensure_api_key(settings)
        with contextlib.closing(Farm(settings, folder=folder, pushes_singly=plan.pushes_singly)) as farm:
            farm.tend()
            _wait_for_api(settings)
            if plan.calls_back:
                callbacks.subscribe(settings)
            assault = Assault(plan, farm, simulator=simulator, servers=servers, watch=watch)
            assault.run()
            report.drain_seconds = assault.drain()
            report.faults, report.strikes = assault.faults, assault.strikes
            if plan.calls_back:
                callbacks.wait(farm)
                report.findings += callbacks.list_findings(farm)
            _fill_in(report, plan, farm, read_purchases(simulator))
    report.seconds = time.monotonic() - began
    return report


def _wait_for_api(settings: Settings) -> None:
    deadline = time.monotonic() + READY_SECONDS
    with open_api(settings) as client:
        while not _is_ready(client):
            if time.monotonic() > deadline:
                raise CommandError(f"the API of the run gave no answer in {READY_SECONDS:g} s")
            time.sleep(0.1)


def _is_ready(client: Connection) -> bool:
    with contextlib.suppress(ClientError):
        return client.get_readiness().get("status") == "ready"
    return False


def _fill_in(report: Report, plan: Plan, farm: Farm, purchases: Purchases) -> None:
    """Fill the report from the current rows, files and provider's books."""
    with transaction(farm.sessions) as session:
        store = open_store(farm.settings.get_artifacts_url())
        report.findings += [
            *audit_rows(session),
            *compare_with_ledger(session, purchases.books, drained=True),
            *audit_files(session, store),
        ]
        videos = count_videos(session)
    report.states = farm.count_states() or {}
    report.pushes = farm.pusher.counts
    report.findings.append(_find_doubled(sum(report.states.values()), len(plan.prompts)))
    if SCENARIOS[report.trial.scenario].breaks_outputs:
        report.findings.append(find_failed(report.states))
    report.cost = reckon(purchases, wanted=Counter(plan.prompts), files=videos)


def find_failed(states: Mapping[str, int]) -> Finding:
    """The jobs that did not succeed, for a scenario in which every job must."""
    others = {state: count for state, count in states.items() if state != "succeeded"}
    examples = tuple(f"{count} {state}" for state, count in sorted(others.items()))
    return Finding(
        "all_succeeded", "a job did not succeed though the provider has its file", sum(others.values()), examples
    )


def _find_doubled(stored: int, pushed: int) -> Finding:
    rows = () if stored == pushed else (f"{stored} of {pushed}",)
    return Finding("pushed_once", "there are more or fewer jobs than were pushed", abs(stored - pushed), rows)
