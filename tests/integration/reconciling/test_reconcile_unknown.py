"""What a row of ours may have asked for is no unknown prediction, however late its answer comes."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from models import Prediction, transitions
from models.db.session import transaction
from rushes.reconciling.evidence import ReconcileFailed
from rushes.runtime import Runtime
from rushes.wavespeed.predictions import ProviderPrediction
from tests.support.rows import MINUTE, NOW
from tests.support.runtimes import accept, ask, begin, change, reconcile, send


@pytest.fixture
def account(runtime: Runtime) -> UUID:
    """An account with one render, so that it is swept for unknown predictions."""
    with transaction(runtime.sessions) as session:
        account = transitions.accounts.ensure_account(session, "default", slots=9, submits_per_minute=600)
    accept(runtime, begin(runtime, account, "the first"), send(runtime, "the first"))
    return account


def reconcile_now(runtime: Runtime, account: UUID) -> str:
    change(runtime, "account", reconcile_until=None, swept_at=None)
    change(runtime, "prediction", Prediction.state == "unconfirmed", due_at=NOW)
    return reconcile(runtime, account)


def post_while_listed(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, post: Callable[[], Any]) -> None:
    """The next list is read while this is posted."""
    list_predictions = runtime.client.list_predictions

    def list_after_post(**options: Any) -> Any:
        monkeypatch.undo()
        post()
        return list_predictions(**options)

    monkeypatch.setattr(runtime.client, "list_predictions", list_after_post)


def test_a_submission_posted_while_the_list_is_read_is_not_unknown(
    runtime: Runtime, account: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted: list[tuple[UUID, ProviderPrediction]] = []
    post_while_listed(runtime, monkeypatch, lambda: posted.append((begin(runtime, account, "a"), send(runtime, "a"))))
    assert reconcile_now(runtime, account).endswith("new unknown predictions 0")

    accept(runtime, *posted[0])
    assert reconcile_now(runtime, account).endswith("new unknown predictions 0")


def test_an_unconfirmed_submission_takes_no_prediction_of_a_newer_twin(
    runtime: Runtime, account: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    unconfirmed = begin(runtime, account, "a")
    with transaction(runtime.sessions) as session:
        transitions.submitting.mark_unconfirmed(session, unconfirmed, 1, message="test")
    twins: list[tuple[UUID, ProviderPrediction]] = []
    post_while_listed(runtime, monkeypatch, lambda: twins.append((begin(runtime, account, "a"), send(runtime, "a"))))
    assert reconcile_now(runtime, account).startswith("adopted 0, not found 0, waiting 1")

    accept(runtime, *twins[0])
    send(runtime, "a")
    assert reconcile_now(runtime, account).startswith("adopted 1, not found 0, waiting 0")


@pytest.mark.parametrize("dismissed", [False, True])
def test_a_submission_decided_meanwhile_takes_nothing_from_its_twin(
    runtime: Runtime, account: UUID, monkeypatch: pytest.MonkeyPatch, dismissed: bool
) -> None:
    first, second = begin(runtime, account, "a"), begin(runtime, account, "a")
    with transaction(runtime.sessions) as session:
        for unconfirmed in (first, second):
            transitions.submitting.mark_unconfirmed(session, unconfirmed, 1, message="test")
    posted_at = Prediction.posted_at - 5 * MINUTE
    change(runtime, "prediction", Prediction.state == "unconfirmed", posted_at=posted_at)
    answer = None if dismissed else send(runtime, "a")
    its_own = send(runtime, "a")

    forget_clocks = partial(change, runtime, "prediction", provider_created_at=None)
    forget_clocks()  # so that what is sent now may be theirs

    def decide() -> None:
        if answer is not None:
            accept(runtime, first, answer)
            forget_clocks()
            return
        with transaction(runtime.sessions) as session:
            assert transitions.purchases.dismiss_unconfirmed(session, first, by="mara")

    post_while_listed(runtime, monkeypatch, decide)
    with pytest.raises(ReconcileFailed, match="somebody else has decided"):
        reconcile_now(runtime, account)
    assert reconcile_now(runtime, account).startswith("adopted 1, not found 0")
    twins = "SELECT provider_id FROM prediction WHERE id = :id"
    assert ask(runtime, twins, id=second) == [(its_own.id,)]


def test_an_unknown_prediction_that_a_row_claims_is_no_longer_unknown(runtime: Runtime, account: UUID) -> None:
    stranger = send(runtime, "nobody's")
    with capture_logs() as logs:
        assert reconcile_now(runtime, account).endswith("new unknown predictions 1")
        assert reconcile_now(runtime, account).endswith("new unknown predictions 0")
    reported = [
        (each["log_level"], each["provider_id"]) for each in logs if each["event"] == "account.unknown_prediction"
    ]
    assert reported == [("warning", stranger.id)]

    accept(runtime, begin(runtime, account, "nobody's"), stranger)
    assert ask(runtime, "SELECT provider_id FROM unknown_prediction") == []
