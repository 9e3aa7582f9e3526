"""A list whose second page is late, while its first was not: what is between them is bought already."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from models import Prediction, transitions
from models.db.session import transaction
from rushes.runtime import Runtime
from rushes.wavespeed.answers import PredictionNotFound
from rushes.wavespeed.predictions import ProviderPrediction
from sandbox.wavespeed.handle import Simulator
from tests.support.rows import MINUTE, NOW
from tests.support.runtimes import accept, ask, begin, change, check_render, reconcile, send

PAGE = 3


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(median=600) as started:
        yield started


@pytest.fixture
def account(runtime: Runtime) -> UUID:
    with transaction(runtime.sessions) as session:
        return transitions.accounts.ensure_account(session, "default", slots=9, submits_per_minute=600)


def render(runtime: Runtime, account: UUID, prompt: str) -> tuple[UUID, ProviderPrediction]:
    prediction_id, answer = begin(runtime, account, prompt), send(runtime, prompt)
    accept(runtime, prediction_id, answer)
    return prediction_id, answer


def make_late(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, *, newest: datetime) -> None:
    """From the second page on nothing is shown that was created after this; pages hold three."""
    list_predictions = runtime.client.list_predictions
    asked: list[object] = []

    def list_late(*, created_before: datetime | None = None, **options: Any) -> Any:
        asked.append(created_before)
        if len(asked) > 1:
            created_before = min(newest, created_before or newest)
        return list_predictions(page_size=PAGE, created_before=created_before, **options)

    monkeypatch.setattr(runtime.client, "list_predictions", list_late)


def moment_of(answer: ProviderPrediction) -> datetime:
    assert answer.created_at is not None
    return answer.created_at


def test_a_purchase_unconfirmed_is_adopted_although_a_later_page_is_late(
    runtime: Runtime, account: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    for prompt in "first", "second", "third":
        render(runtime, account, prompt)
    unconfirmed, bought = begin(runtime, account, "unconfirmed"), send(runtime, "unconfirmed")
    with transaction(runtime.sessions) as session:
        transitions.submitting.mark_unconfirmed(session, unconfirmed, 1, message="test")
    for prompt in "later", "later still", "last":
        render(runtime, account, prompt)
    ago = {"posted_at": Prediction.posted_at - 10 * MINUTE, "accepted_at": Prediction.accepted_at - 10 * MINUTE}
    change(runtime, "prediction", **ago)
    change(runtime, "prediction", Prediction.state == "unconfirmed", due_at=NOW)

    make_late(runtime, monkeypatch, newest=moment_of(bought) + timedelta(milliseconds=1))
    assert reconcile(runtime, account).startswith("adopted 1, not found 0")
    ((state, provider_id),) = ask(runtime, "SELECT state, provider_id FROM prediction WHERE id = :id", id=unconfirmed)
    assert (state, provider_id) == ("rendering", bought.id)


def test_a_render_is_not_lost_although_a_later_page_is_late(
    runtime: Runtime, account: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    for prompt in "first", "second", "third":
        render(runtime, account, prompt)
    watched, answer = render(runtime, account, "watched")
    for prompt in "later", "later still", "last":
        render(runtime, account, prompt)
    ago = {"inconsistent_since": -5 * MINUTE, "accepted_at": Prediction.accepted_at - 2 * MINUTE}
    change(runtime, "prediction", watched, **ago)

    def find_nothing(provider_id: str) -> ProviderPrediction:
        raise PredictionNotFound(provider_id)

    monkeypatch.setattr(runtime.client, "get_prediction", find_nothing)
    make_late(runtime, monkeypatch, newest=moment_of(answer) + timedelta(milliseconds=1))
    check_render(runtime, watched, 1)
    assert ask(runtime, "SELECT state FROM prediction WHERE id = :id", id=watched) == [("rendering",)]
