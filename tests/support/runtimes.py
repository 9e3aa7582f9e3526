"""A runtime against the simulator, and the first steps of its jobs, taken one by one. What is written is committed."""

import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import text

from models import DEFAULT_TENANT, transitions
from models.db.session import Sessions, transaction
from models.transitions.admission import ClaimedSubmit
from models.transitions.jobs import NewJob
from rushes.jobs.actions import advance_action, find_running_action
from rushes.reconciling.reconcile import reconcile_account
from rushes.runtime import Runtime
from rushes.settings import Settings
from rushes.watching.poll import RenderFailed, check_prediction
from rushes.wavespeed.predictions import ProviderPrediction
from sandbox.wavespeed.handle import Simulator
from tests.support import rows
from tests.support.simulator_client import wait_until

LEASE = timedelta(seconds=60)
MODEL = "lightricks/ltx-2-fast/text-to-video"
PRICE = Decimal("0.24")
PATIENCE_SECONDS = 60.0


def open_runtime(database_url: str, simulator: Simulator, folder: Path, **changes: object) -> Runtime:
    """A runtime of this database and this provider; `changes` are further settings."""
    settings = Settings(
        database_url=database_url,  # type: ignore[arg-type]
        data_dir=folder,
        wavespeed_api_key=simulator.api_key,  # type: ignore[arg-type]
        wavespeed_url=simulator.url,
    ).with_changes(**changes)
    return Runtime.open(settings, threads=2, application="test")


def wish(prompt: str = "a") -> dict[str, object]:
    """The input of a render of 6 s with sound."""
    return {"prompt": prompt, "duration": 6, "generate_audio": True}


def push(runtime: Runtime, *inputs: dict[str, Any]) -> list[UUID]:
    """Queue a job for each of these inputs."""
    with transaction(runtime.sessions) as session:
        return [
            transitions.jobs.insert_job(session, NewJob(MODEL, each, PRICE, 0, 3), tenant_id=DEFAULT_TENANT).id
            for each in inputs
        ]


def claim_submits(runtime: Runtime, account: UUID, *, count: int = 1) -> list[ClaimedSubmit]:
    """Admit `count` queued jobs, and take what is to be submitted."""
    with transaction(runtime.sessions) as session:
        transitions.admission.admit_jobs(session, account, count=count)
        return transitions.admission.claim_submits(session, account, count=count, lease=LEASE)


def begin_submit(runtime: Runtime, claimed: ClaimedSubmit) -> None:
    """Write that it is posted now."""
    with transaction(runtime.sessions) as session:
        assert transitions.submitting.begin_submit(session, claimed.prediction_id, claimed.claim, lease=LEASE)


def begin(runtime: Runtime, account: UUID, prompt: str) -> UUID:
    """A submission whose `posted_at` is written; returns its prediction."""
    push(runtime, {"prompt": prompt})
    (claimed,) = claim_submits(runtime, account)
    begin_submit(runtime, claimed)
    return claimed.prediction_id


def send(runtime: Runtime, prompt: str) -> ProviderPrediction:
    """The POST itself."""
    return runtime.client.submit(MODEL, {"prompt": prompt}, send_before=time.monotonic() + 60)


def accept(
    runtime: Runtime, prediction_id: UUID, answer: ProviderPrediction, *, watch_window: timedelta = LEASE
) -> None:
    """Store the provider's answer."""
    with transaction(runtime.sessions) as session:
        transitions.submitting.accept_prediction(
            session,
            prediction_id,
            provider_id=answer.id,
            provider_created_at=answer.created_at,
            watch_window=watch_window,
        )


def reconcile(runtime: Runtime, account: UUID) -> str:
    """One reconciliation run and unknown predictions of an account that nobody else reconciles."""
    with transaction(runtime.sessions) as session:
        claim = transitions.runs.claim_reconcile(session, account, lease=LEASE)
    assert claim is not None
    return reconcile_account(runtime, account, claim)


class Stored(Protocol):
    """A runtime, a farm or an API: what has rows."""

    @property
    def sessions(self) -> Sessions: ...


def change(stored: Stored, table: str, *which: rows.Which, **columns: Any) -> None:
    """Change rows in a way that only time or a restore would; see `rows.change`."""
    with transaction(stored.sessions) as session:
        rows.change(session, table, *which, **columns)


def ask(runtime: Runtime, query: str, **values: object) -> list[Any]:
    """What the rows hold, as tuples."""
    with transaction(runtime.sessions) as session:
        return [tuple(row) for row in session.execute(text(query), values)]


def check_render(runtime: Runtime, prediction_id: UUID, claim: int) -> str:
    """Check a render once. Returns the line for operators, also about a render that ended without a video."""
    try:
        return check_prediction(runtime, prediction_id, claim)
    except RenderFailed as failed:
        return str(failed)


def finish_actions(sessions: Sessions) -> None:
    """Bring every action to its end, as the leader does."""
    while action := find_running_action(sessions):
        advance_action(sessions, action)


def wait_until_over(simulator: Simulator) -> None:
    """Let the provider end everything."""
    under_way = {"created", "processing"}
    wait_until(
        lambda: all(each["status"] not in under_way for each in simulator.tasks()),
        "every task ends",
        seconds=PATIENCE_SECONDS,
    )
