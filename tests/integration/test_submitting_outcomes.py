"""What came of a POST is written however the database behaves meanwhile."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from models import PredictionState, transitions
from models.session import transaction
from models.transitions import ClaimedSubmit
from rushes.runtime import ACCOUNT, Runtime
from rushes.settings import Settings
from rushes.submitting import SubmitDeferred, SubmitNotSent, submit_prediction
from sandbox.servers import free_port
from sandbox.wavespeed import Simulator
from tests import rows

LEASE = 30


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(median=60) as running:
        yield running


def open_runtime(database_url: str, folder: Path, *, key: str, url: str) -> Runtime:
    settings = Settings(database_url=database_url, wavespeed_api_key=key, wavespeed_url=url, data_dir=folder)  # type: ignore[arg-type]
    return Runtime.open(settings, threads=4, application="test")


@pytest.fixture
def runtime(database_url: str, tmp_path: Path, simulator: Simulator) -> Iterator[Runtime]:
    opened = open_runtime(database_url, tmp_path, key=simulator.api_key, url=simulator.url)
    yield opened
    simulator.clear_faults()
    opened.close()


def claim_one(runtime: Runtime) -> ClaimedSubmit:
    """A job of the account's, admitted and claimed."""
    with transaction(runtime.sessions) as session:
        account = transitions.ensure_account(session, ACCOUNT, slots=5, submits_per_minute=60)
        rows.add_job(session, input={"prompt": "a fox", "duration": 6, "generate_audio": True})
        assert transitions.lock_account(session, account)
        transitions.admit_jobs(session, account, count=1)
        (claimed,) = transitions.claim_submits(session, account, count=1, lease=LEASE * rows.SECOND)
    return claimed


def read_prediction(runtime: Runtime, claimed: ClaimedSubmit) -> dict[str, object]:
    with transaction(runtime.sessions) as session:
        return dict(rows.read(session, "prediction", claimed.prediction_id))


def test_an_accepted_id_outlasts_a_locked_table(runtime: Runtime, simulator: Simulator, database_url: str) -> None:
    claimed = claim_one(runtime)
    simulator.set_fault("slow_answer", kind="submit", delay=1.0)
    outcomes: list[str] = []
    step = threading.Thread(
        target=lambda: outcomes.append(submit_prediction(runtime, claimed.prediction_id, claimed.claim))
    )
    step.start()
    deadline = time.monotonic() + 10
    while read_prediction(runtime, claimed)["posted_at"] is None:
        assert time.monotonic() < deadline
    with psycopg.connect(database_url) as other:
        other.execute("LOCK TABLE prediction IN SHARE MODE")
        step.join(timeout=13)  # longer than lock_timeout: the first tries to write fail
        assert step.is_alive()
    step.join(timeout=30)
    assert outcomes[0].startswith("accepted as")
    assert read_prediction(runtime, claimed)["state"] == PredictionState.RENDERING


def test_what_was_not_sent_is_told_even_after_the_lease(database_url: str, tmp_path: Path) -> None:
    runtime = open_runtime(database_url, tmp_path, key="k", url=f"http://127.0.0.1:{free_port()}")
    claimed = claim_one(runtime)
    with pytest.raises(SubmitNotSent):
        submit_prediction(runtime, claimed.prediction_id, claimed.claim)
    row = read_prediction(runtime, claimed)
    assert (row["state"], row["posted_at"]) == (PredictionState.SUBMITTING, None)
    runtime.close()


def test_a_refused_account_costs_the_job_nothing(runtime: Runtime, simulator: Simulator) -> None:
    claimed = claim_one(runtime)
    simulator.set_fault("submit_429", count=1, retry_after=30)
    with pytest.raises(SubmitDeferred):
        submit_prediction(runtime, claimed.prediction_id, claimed.claim)
    assert read_prediction(runtime, claimed)["state"] == PredictionState.REFUSED
    with transaction(runtime.sessions) as session:
        assert rows.read(session, "job", claimed.job_id)["state"] == "queued"


def test_a_second_message_of_a_claim_sends_nothing(runtime: Runtime, simulator: Simulator) -> None:
    claimed = claim_one(runtime)
    before = simulator.stats()["accepted"]
    submit_prediction(runtime, claimed.prediction_id, claimed.claim)
    assert submit_prediction(runtime, claimed.prediction_id, claimed.claim) == "stale: nothing to do"
    assert simulator.stats()["accepted"] == before + 1
