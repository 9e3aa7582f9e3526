"""A pass reads the list back to what it looks for now, and no further; where that is too long, it decides the rest."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from models import transitions
from models.session import transaction
from rushes import passes
from rushes.runtime import Runtime
from rushes.wavespeed import PredictionPage
from tests.runtimes import accept, ask, begin, reconcile, run, send

MODEST = timedelta(minutes=5)


@pytest.fixture
def account(runtime: Runtime) -> UUID:
    """An account that was swept for orphans just now."""
    with transaction(runtime.sessions) as session:
        account = transitions.ensure_account(session, "default", slots=9, submits_per_minute=600)
    accept(runtime, begin(runtime, account, "the first"), send(runtime, "the first"))
    run(runtime, "UPDATE account SET orphans_swept_at = now()")
    return account


@pytest.fixture
def asked_after(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """From which moment on each page of the list was asked for; a page holds one prediction."""
    list_predictions, moments = runtime.client.list_predictions, []

    def list_one(*, page: int, created_after: datetime, **options: Any) -> PredictionPage:
        moments.append(created_after)
        whole = list_predictions(page=1, created_after=created_after, **options)
        items = whole.items[page - 1 : page]
        return PredictionPage(page=page, items=items, unreadable=0, is_last=page >= len(whole.items))

    monkeypatch.setattr(runtime.client, "list_predictions", list_one)
    return moments


def doubt(runtime: Runtime, account: UUID, prompt: str, *, age: timedelta) -> UUID:
    """A submission without an answer that was posted so long ago, and is looked for now."""
    prediction_id = begin(runtime, account, prompt)
    with transaction(runtime.sessions) as session:
        transitions.doubt_submit(session, prediction_id, 1, message="test")
    change = "UPDATE prediction SET posted_at = posted_at - :age, due_at = now() WHERE id = :id"
    run(runtime, change, age=age, id=prediction_id)
    return prediction_id


def give_up(runtime: Runtime, account: UUID, prompt: str) -> UUID:
    """One that was called absent two days after its POST, and whose job has ended."""
    prediction_id = doubt(runtime, account, prompt, age=timedelta(days=2))
    assert "absent 1" in make_pass(runtime, account)
    run(runtime, "UPDATE job SET state = 'cancelled', ended_at = now(), due_at = NULL WHERE state = 'queued'")
    return prediction_id


def make_pass(runtime: Runtime, account: UUID) -> str:
    run(runtime, "UPDATE account SET reconcile_until = NULL")
    return reconcile(runtime, account)


def state_of(runtime: Runtime, prediction_id: UUID) -> tuple[str, str | None]:
    ((state, message),) = ask(runtime, "SELECT state, error_message FROM prediction WHERE id = :id", id=prediction_id)
    return state, message


def now(runtime: Runtime) -> datetime:
    ((moment,),) = ask(runtime, "SELECT clock_timestamp()")
    assert isinstance(moment, datetime)
    return moment


def test_what_was_called_absent_long_ago_does_not_lengthen_the_list(
    runtime: Runtime, account: UUID, asked_after: list[datetime]
) -> None:
    absent = give_up(runtime, account, "never bought")
    asked_after.clear()

    fresh = doubt(runtime, account, "bought", age=timedelta(0))
    send(runtime, "bought")
    assert make_pass(runtime, account).startswith("adopted 1")
    assert min(asked_after) > now(runtime) - MODEST
    assert (state_of(runtime, absent)[0], state_of(runtime, fresh)[0]) == ("absent", "rendering")


def test_a_doubt_that_waits_for_its_turn_does_not_lengthen_the_list_and_is_not_decided_by_it(
    runtime: Runtime, account: UUID, asked_after: list[datetime]
) -> None:
    waiting = doubt(runtime, account, "waits", age=timedelta(days=2))
    run(runtime, "UPDATE prediction SET due_at = now() + interval '10 minutes' WHERE id = :id", id=waiting)
    doubt(runtime, account, "bought", age=timedelta(0))
    send(runtime, "bought")
    assert make_pass(runtime, account).startswith("adopted 1, absent 0, waiting 0")
    assert min(asked_after) > now(runtime) - MODEST
    assert state_of(runtime, waiting) == ("unconfirmed", "test")

    run(runtime, "UPDATE prediction SET due_at = now() WHERE id = :id", id=waiting)
    assert make_pass(runtime, account).startswith("adopted 0, absent 1")


def test_a_doubt_that_waits_for_its_turn_takes_what_is_met_before_it_is_called_a_surplus(
    runtime: Runtime, account: UUID
) -> None:
    absent = give_up(runtime, account, "the same take")
    waiting = doubt(runtime, account, "the same take", age=timedelta(seconds=20))
    run(runtime, "UPDATE prediction SET due_at = now() + interval '10 minutes' WHERE id = :id", id=waiting)
    doubt(runtime, account, "bought", age=timedelta(0))
    send(runtime, "the same take")
    send(runtime, "bought")
    assert make_pass(runtime, account).startswith("adopted 2")
    assert (state_of(runtime, absent)[0], state_of(runtime, waiting)[0]) == ("absent", "rendering")


def test_a_list_that_is_too_long_decides_what_it_reaches_and_leaves_the_rest_to_a_person(
    runtime: Runtime, account: UUID, asked_after: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "PAGE_LIMIT", 2)
    old = doubt(runtime, account, "old", age=timedelta(hours=1))
    settled = doubt(runtime, account, "never bought", age=timedelta(hours=1))
    fresh = doubt(runtime, account, "bought", age=timedelta(0))
    for prompt in ("a stranger's", "a stranger's", "bought"):
        send(runtime, prompt)
    run(runtime, "UPDATE account SET orphans_swept_at = NULL")

    told = make_pass(runtime, account)

    assert told.startswith("adopted 1, absent 0, waiting 0, for a person 2")
    assert len(asked_after) == passes.PAGE_LIMIT
    assert state_of(runtime, fresh)[0] == "rendering"
    for each in (old, settled):
        state, message = state_of(runtime, each)
        assert (state, message) == ("unconfirmed", "the list is too long to be read back to it: decide by hand")
    ((swept,),) = ask(runtime, "SELECT orphans_swept_at IS NOT NULL FROM account")
    assert swept  # or every later sweep would be longer than the one before
