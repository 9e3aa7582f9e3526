"""A run reads the list back to what it searches for now, and no further; where that is too long, it decides the
rest."""

import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from models import Job, Prediction, transitions
from models.db.session import transaction
from rushes.reconciling import evidence
from rushes.reconciling.evidence import ReconcileFailed
from rushes.runtime import Runtime
from rushes.wavespeed.predictions import PredictionPage, PredictionStatus, ProviderPrediction
from sandbox.wavespeed.state.timestamps import NANOSECONDS, SHORT_FRACTION_ERROR_NS
from tests.support.rows import HOUR, MINUTE, NOW
from tests.support.runtimes import accept, ask, begin, change, reconcile, send

MODEST = timedelta(minutes=5)


@pytest.fixture
def account(runtime: Runtime) -> UUID:
    """An account that was swept for unknown predictions just now."""
    with transaction(runtime.sessions) as session:
        account = transitions.accounts.ensure_account(session, "default", slots=9, submits_per_minute=600)
    accept(runtime, begin(runtime, account, "the first"), send(runtime, "the first"))
    change(runtime, "account", swept_at=NOW)
    return account


@pytest.fixture
def asked_after(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """From which moment on each page of the list was asked for; a page holds one prediction."""
    list_predictions, moments = runtime.client.list_predictions, []

    def list_one(*, page: int, created_after: datetime, **options: Any) -> PredictionPage:
        moments.append(created_after)
        whole = list_predictions(page=1, created_after=created_after, **options)
        items = whole.items[page - 1 : page]
        return PredictionPage(items=items, unreadable=0, is_last=page >= len(whole.items))

    monkeypatch.setattr(runtime.client, "list_predictions", list_one)
    return moments


@pytest.fixture
def asked_at(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """When, by the clock of the database, each page of the list was asked for."""
    list_predictions, moments = runtime.client.list_predictions, []

    def list_then(**options: Any) -> PredictionPage:
        moments.append(now(runtime))
        return list_predictions(**options)

    monkeypatch.setattr(runtime.client, "list_predictions", list_then)
    return moments


def unconfirmed(runtime: Runtime, account: UUID, prompt: str, *, age: timedelta) -> UUID:
    """A submission without an answer that was posted `age` ago, and is searched for now."""
    prediction_id = begin(runtime, account, prompt)
    with transaction(runtime.sessions) as session:
        transitions.submitting.mark_unconfirmed(session, prediction_id, 1, message="test")
    change(runtime, "prediction", prediction_id, posted_at=Prediction.posted_at - age, due_at=NOW)
    return prediction_id


def give_up(runtime: Runtime, account: UUID, prompt: str) -> UUID:
    """One that was marked not found two days after its POST, and whose job has ended."""
    prediction_id = unconfirmed(runtime, account, prompt, age=timedelta(days=2))
    assert "not found 1" in reconcile_now(runtime, account)
    change(runtime, "job", Job.state == "queued", state="cancelled", ended_at=NOW, due_at=None)
    return prediction_id


def reconcile_now(runtime: Runtime, account: UUID) -> str:
    change(runtime, "account", reconcile_until=None)
    return reconcile(runtime, account)


def state_of(runtime: Runtime, prediction_id: UUID) -> tuple[str, str | None]:
    ((state, message),) = ask(runtime, "SELECT state, error_message FROM prediction WHERE id = :id", id=prediction_id)
    return state, message


def now(runtime: Runtime) -> datetime:
    ((moment,),) = ask(runtime, "SELECT clock_timestamp()")
    assert isinstance(moment, datetime)
    return moment


def test_an_old_not_found_submission_does_not_lengthen_the_list(
    runtime: Runtime, account: UUID, asked_after: list[datetime]
) -> None:
    not_found = give_up(runtime, account, "never bought")
    asked_after.clear()

    fresh = unconfirmed(runtime, account, "bought", age=timedelta(0))
    send(runtime, "bought")
    assert reconcile_now(runtime, account).startswith("adopted 1")
    assert min(asked_after) > now(runtime) - MODEST
    assert (state_of(runtime, not_found)[0], state_of(runtime, fresh)[0]) == ("not_found", "rendering")


def test_a_submission_that_is_not_due_lengthens_no_list(
    runtime: Runtime, account: UUID, asked_after: list[datetime]
) -> None:
    waiting = unconfirmed(runtime, account, "waits", age=timedelta(days=2))
    change(runtime, "prediction", waiting, due_at=10 * MINUTE)
    unconfirmed(runtime, account, "bought", age=timedelta(0))
    send(runtime, "bought")
    assert reconcile_now(runtime, account).startswith("adopted 1, not found 0, waiting 0")
    assert min(asked_after) > now(runtime) - MODEST
    assert state_of(runtime, waiting) == ("unconfirmed", "test")

    change(runtime, "prediction", waiting, due_at=NOW)
    assert reconcile_now(runtime, account).startswith("adopted 0, not found 1")


def test_a_submission_that_is_not_due_adopts_before_a_not_found_one(runtime: Runtime, account: UUID) -> None:
    not_found = give_up(runtime, account, "the same take")
    waiting = unconfirmed(runtime, account, "the same take", age=timedelta(seconds=20))
    change(runtime, "prediction", waiting, due_at=10 * MINUTE)
    unconfirmed(runtime, account, "bought", age=timedelta(0))
    send(runtime, "the same take")
    send(runtime, "bought")
    assert reconcile_now(runtime, account).startswith("adopted 2")
    assert (state_of(runtime, not_found)[0], state_of(runtime, waiting)[0]) == ("not_found", "rendering")


def test_a_submission_that_is_not_due_adopts_before_its_younger_twin(runtime: Runtime, account: UUID) -> None:
    older = unconfirmed(runtime, account, "the same take", age=timedelta(seconds=60))
    change(runtime, "prediction", older, due_at=10 * MINUTE)
    younger = unconfirmed(runtime, account, "the same take", age=timedelta(0))
    send(runtime, "the same take")  # of the older one; that of the younger is not listed yet
    assert reconcile_now(runtime, account).startswith("adopted 1, not found 0, waiting 1")
    assert (state_of(runtime, older)[0], state_of(runtime, younger)[0]) == ("rendering", "unconfirmed")


def test_a_purchase_found_late_goes_to_a_waiting_job_before_an_ended_one(runtime: Runtime, account: UUID) -> None:
    give_up(runtime, account, "the same take")
    waiting = unconfirmed(runtime, account, "the same take", age=timedelta(days=1))
    assert "not found 1" in reconcile_now(runtime, account)
    found = send(runtime, "the same take")
    change(runtime, "account", swept_at=None)
    assert "found late: adopted 1, duplicates 0" in reconcile_now(runtime, account)
    query = "SELECT own.provider_id FROM prediction JOIN prediction AS own USING (job_id) WHERE prediction.id = :id"
    assert (found.id,) in ask(runtime, query, id=waiting)


def test_a_search_for_an_older_twin_checks_whose_list_it_is(runtime: Runtime, account: UUID) -> None:
    before = {"accepted_at": Prediction.accepted_at - 5 * MINUTE, "provider_created_at": -5 * MINUTE}
    change(runtime, "prediction", provider_id="of another account", **before)
    older = unconfirmed(runtime, account, "the same take", age=timedelta(minutes=4))
    change(runtime, "prediction", older, due_at=10 * MINUTE)
    unconfirmed(runtime, account, "the same take", age=timedelta(minutes=2))
    assert "new unknown predictions 0" in reconcile_now(runtime, account)
    assert ask(runtime, "SELECT list_lag_seconds FROM account") == [(0,)]
    assert ask(runtime, "SELECT prediction_id FROM event WHERE kind = 'prediction.foreign_list'") == [(older,)]


def test_a_sweep_counts_from_when_its_list_was_begun(runtime: Runtime, account: UUID, asked_at: list[datetime]) -> None:
    change(runtime, "account", swept_at=None)
    reconcile_now(runtime, account)
    ((swept_at,),) = ask(runtime, "SELECT swept_at FROM account")
    assert swept_at < asked_at[0]


@pytest.mark.parametrize(("read_to", "reported"), [(2, "for a person 1"), (0.5, "since the restored state")])
def test_a_submission_past_retention_does_not_prolong_a_pause(
    runtime: Runtime, account: UUID, monkeypatch: pytest.MonkeyPatch, read_to: float, reported: str
) -> None:
    """The list is cut `read_to` hours before now; an hour before the restored state would do."""
    unconfirmed(runtime, account, "old", age=timedelta(days=3))
    change(runtime, "account", paused_reason="restore", paused_at=-10 * MINUTE, epoch_at=NOW)
    items = [
        ProviderPrediction(
            id=f"p{hours}", status=PredictionStatus.COMPLETED, inputs={}, created_at=now(runtime) - hours * HOUR
        )
        for hours in (0, read_to)
    ]
    pages = [PredictionPage(items=(each,), unreadable=0, is_last=False) for each in items]
    monkeypatch.setattr(evidence, "PAGE_LIMIT", len(pages))
    monkeypatch.setattr(runtime.client, "list_predictions", lambda **_: pages.pop(0))
    try:
        line = reconcile_now(runtime, account)
    except ReconcileFailed as error:
        line = str(error)
    assert reported in line


def test_a_list_that_is_too_long_leaves_what_it_does_not_reach_to_a_person(
    runtime: Runtime, account: UUID, asked_after: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "PAGE_LIMIT", 2)
    old = unconfirmed(runtime, account, "old", age=timedelta(hours=1))
    settled = unconfirmed(runtime, account, "never bought", age=timedelta(hours=1))
    fresh = unconfirmed(runtime, account, "bought", age=timedelta(0))
    send(runtime, "a stranger's")
    send(runtime, "a stranger's")
    time.sleep(SHORT_FRACTION_ERROR_NS / NANOSECONDS)  # the provider's times are cut short by up to this
    send(runtime, "bought")  # so only now is it surely the newest
    change(runtime, "account", swept_at=None)
    before = {"accepted_at": Prediction.accepted_at - 2 * HOUR, "provider_created_at": -2 * HOUR}
    change(runtime, "prediction", Prediction.state == "rendering", **before)  # a control prediction of the old ones

    reported = reconcile_now(runtime, account)

    assert reported.startswith("adopted 1, not found 0, waiting 0, for a person 2")
    assert len(asked_after) == evidence.PAGE_LIMIT
    assert state_of(runtime, fresh)[0] == "rendering"
    for each in (old, settled):
        state, message = state_of(runtime, each)
        assert (state, message) == ("unconfirmed", "the list is too long to be read back to it: decide by hand")
    assert ask(runtime, "SELECT 1 FROM event WHERE kind = 'prediction.foreign_list'") == []
    ((swept,),) = ask(runtime, "SELECT swept_at IS NOT NULL FROM account")
    assert swept  # or every later sweep would be longer than the one before
