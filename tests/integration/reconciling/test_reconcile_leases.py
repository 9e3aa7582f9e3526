"""A reconciliation run keeps its claim as long as it reads, and gives it back soon when its worker dies."""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from models import Account, transitions
from models.db.session import transaction
from rushes.reconciling import evidence
from rushes.reconciling.evidence import ReconcileFailed
from rushes.reconciling.reconcile import reconcile_account
from rushes.runtime import Runtime
from rushes.wavespeed.answers import KeyRefused
from rushes.wavespeed.predictions import ProviderPrediction
from sandbox.wavespeed.handle import Simulator
from tests.support.rows import NOW, SECOND
from tests.support.runtimes import MODEL, ask, begin_submit, change, claim_submits, push

INPUT = {"prompt": "a"}
STRANGERS = 6


@pytest.fixture
def runtime_settings() -> dict[str, Any]:
    return {"request_timeout_seconds": 60}


@pytest.fixture
def account_id(runtime: Runtime) -> UUID:
    """An account with one unconfirmed submission."""
    with transaction(runtime.sessions) as session:
        account = transitions.accounts.ensure_account(session, "default", slots=1, submits_per_minute=60)
    push(runtime, INPUT)
    (claimed,) = claim_submits(runtime, account)
    begin_submit(runtime, claimed)
    with transaction(runtime.sessions) as session:
        transitions.submitting.mark_unconfirmed(session, claimed.prediction_id, claimed.claim, message="test")
        transitions.runs.postpone_unconfirmed(session, {claimed.prediction_id: timedelta(0)})
    return account


def claim(runtime: Runtime, account_id: UUID) -> int | None:
    with transaction(runtime.sessions) as session:
        return transitions.runs.claim_reconcile(session, account_id, lease=timedelta(minutes=1))


def test_a_run_that_reads_for_longer_than_its_lease_keeps_its_claim(
    runtime: Runtime, simulator: Simulator, account_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(STRANGERS):
        wanted = INPUT | {"prompt": f"a stranger's {number}"}
        runtime.client.submit(MODEL, wanted, send_before=time.monotonic() + 60)
    simulator.set_fault("list_without_inputs")
    first = claim(runtime, account_id)
    assert first is not None
    check, others = runtime.client.get_prediction, list[int | None]()

    def read_slowly(provider_id: str) -> ProviderPrediction:
        """Half of the lease passes meanwhile, and another worker tries to take the run over."""
        half = evidence.lease_of(runtime) / 2
        change(runtime, "account", reconcile_until=Account.reconcile_until - half)
        others.append(claim(runtime, account_id))
        return check(provider_id)

    monkeypatch.setattr(runtime.client, "get_prediction", read_slowly)
    reported = reconcile_account(runtime, account_id, first)
    assert others == [None] * STRANGERS
    assert reported.startswith("adopted 0, not found 0, waiting 0, for a person 1")


def test_the_lease_of_a_dead_run_ends_within_a_request_and_a_margin(runtime: Runtime, account_id: UUID) -> None:
    first = claim(runtime, account_id)
    assert first is not None
    with transaction(runtime.sessions) as session:
        assert transitions.runs.begin_reconcile(session, account_id, first, lease=evidence.lease_of(runtime))
        query = "SELECT extract(epoch FROM reconcile_until - now())::float8 FROM account"
        held = session.connection().exec_driver_sql(query).scalar_one()
    assert 60 < held <= 70


@pytest.mark.parametrize(("wish", "pause"), [(None, 5), (1, 5), (600, 600), (86_400, 3600)])
def test_a_list_that_is_refused_is_asked_again_when_the_provider_wishes(
    runtime: Runtime, simulator: Simulator, account_id: UUID, wish: int | None, pause: int
) -> None:
    simulator.set_fault("get_429", kind="list", retry_after=wish)
    first = claim(runtime, account_id)
    assert first is not None
    ((before,),) = ask(runtime, "SELECT now()")
    with pytest.raises(ReconcileFailed):
        reconcile_account(runtime, account_id, first)
    ((until, after),) = ask(runtime, "SELECT reconcile_until, now() FROM account")
    assert before <= until - timedelta(seconds=pause) <= after


def test_a_run_with_a_refused_key_waits_longer_and_holds_submissions(
    runtime: Runtime, account_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise KeyRefused("invalid key")

    monkeypatch.setattr("random.random", lambda: 1.0)
    monkeypatch.setattr(runtime.client, "list_predictions", refuse)
    for pause in (5, 10):
        change(runtime, "account", reconcile_until=None, back_off_until=-SECOND)
        claimed = claim(runtime, account_id)
        assert claimed is not None
        with pytest.raises(ReconcileFailed):
            reconcile_account(runtime, account_id, claimed)
        columns = "reconcile_until - now(), back_off_until - now(), back_off_reason"
        ((until, held, reason),) = ask(runtime, f"SELECT {columns} FROM account")  # noqa: S608 - constants
        assert pause - 2 < until.total_seconds() <= pause
        assert pause - 2 < held.total_seconds() <= pause
        assert reason == KeyRefused("").reason


def test_a_young_submission_that_cannot_be_decided_is_searched_for_soon(
    runtime: Runtime, simulator: Simulator, account_id: UUID
) -> None:
    runtime.client.submit(MODEL, INPUT, send_before=time.monotonic() + 60)
    simulator.set_fault("list_without_inputs")
    first = claim(runtime, account_id)
    assert first is not None
    assert "for a person 1" in reconcile_account(runtime, account_id, first)
    with transaction(runtime.sessions) as session:
        query = "SELECT extract(epoch FROM due_at - now())::float8 FROM prediction"
        assert session.connection().exec_driver_sql(query).scalar_one() < 60

    simulator.clear_faults()
    change(runtime, "prediction", due_at=NOW)
    change(runtime, "account", reconcile_until=NOW)
    second = claim(runtime, account_id)
    assert second is not None
    assert reconcile_account(runtime, account_id, second).startswith("adopted 1")
