"""The list of another account decides nothing: what it does not show may be paid for under the right key."""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from models import Prediction, queries, transitions
from models.db.session import transaction
from rushes.runtime import Runtime
from sandbox.wavespeed.handle import Simulator
from tests.support.rows import HOUR, MINUTE, NOW
from tests.support.runtimes import MODEL, accept, ask, begin, change, check_render, open_runtime, reconcile, send


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(median=600) as started:
        yield started


@pytest.fixture
def ours(runtime: Runtime) -> Runtime:
    """With the key of the right account."""
    return runtime


@pytest.fixture
def foreign(ours: Runtime, database_url: str, tmp_path: Path) -> Iterator[Runtime]:
    """The same rows, with the key of another account."""
    with Simulator(median=600) as another:
        opened = open_runtime(database_url, another, tmp_path)
        yield opened
        opened.close()


@pytest.fixture
def account(ours: Runtime) -> UUID:
    with transaction(ours.sessions) as session:
        return transitions.accounts.ensure_account(session, "default", slots=9, submits_per_minute=600)


def render(runtime: Runtime, account: UUID, prompt: str) -> UUID:
    """A submission that the provider has accepted."""
    prediction_id = begin(runtime, account, prompt)
    accept(runtime, prediction_id, send(runtime, prompt))
    return prediction_id


def unconfirmed(runtime: Runtime, account: UUID, prompt: str) -> UUID:
    prediction_id = begin(runtime, account, prompt)
    with transaction(runtime.sessions) as session:
        transitions.submitting.mark_unconfirmed(session, prediction_id, 1, message="test")
    return prediction_id


def age(runtime: Runtime) -> None:
    """Everything happened ten minutes earlier, by our clock; the provider's is ten minutes ahead from now on."""
    ago = {"posted_at": Prediction.posted_at - 10 * MINUTE, "accepted_at": Prediction.accepted_at - 10 * MINUTE}
    change(runtime, "prediction", **ago)


def reconcile_now(runtime: Runtime, account: UUID) -> str:
    change(runtime, "account", reconcile_until=None, swept_at=None)
    change(runtime, "prediction", Prediction.state == "unconfirmed", due_at=NOW)
    return reconcile(runtime, account)


def state_of(runtime: Runtime, prediction_id: UUID) -> str:
    ((state,),) = ask(runtime, "SELECT state FROM prediction WHERE id = :id", id=prediction_id)
    return str(state)


def count_foreign(runtime: Runtime) -> int:
    with transaction(runtime.sessions) as session:
        return queries.health.find_health(session).foreign


def check(runtime: Runtime, prediction_id: UUID) -> str:
    accepted_at = Prediction.accepted_at - 2 * MINUTE
    change(runtime, "prediction", inconsistent_since=-5 * MINUTE, accepted_at=accepted_at)
    return check_render(runtime, prediction_id, 1)


def test_a_foreign_list_marks_no_unconfirmed_submission_not_found(
    ours: Runtime, foreign: Runtime, account: UUID
) -> None:
    render(ours, account, "before")
    lost = unconfirmed(ours, account, "lost")
    age(ours)
    foreign.client.submit(MODEL, {"prompt": "a stranger's"}, send_before=time.monotonic() + 60)
    with capture_logs() as logs:
        reported = reconcile_now(foreign, account)
    assert reported.endswith("not found 0, waiting 1, for a person 0, new unknown predictions 0")
    assert [each["log_level"] for each in logs if each["event"] == "account.foreign_list"] == ["error"]
    assert (state_of(ours, lost), count_foreign(ours)) == ("unconfirmed", 1)
    assert ask(ours, "SELECT list_lag_seconds, swept_at FROM account") == [(0, None)]

    assert "not found 1, waiting 0" in reconcile_now(ours, account)
    assert (state_of(ours, lost), count_foreign(ours)) == ("not_found", 0)


def test_later_renders_under_the_other_key_mark_no_submission_not_found(
    ours: Runtime, foreign: Runtime, account: UUID
) -> None:
    render(ours, account, "before")
    lost = unconfirmed(ours, account, "lost")
    for number in range(6):
        render(foreign, account, f"after {number}")
    age(ours)
    assert "not found 0, waiting 1" in reconcile_now(foreign, account)
    assert state_of(ours, lost) == "unconfirmed"


def test_a_submission_before_the_first_acceptance_is_marked_not_found(
    ours: Runtime, foreign: Runtime, account: UUID
) -> None:
    lost = unconfirmed(ours, account, "lost")
    age(ours)
    assert "not found 1" in reconcile_now(foreign, account)
    assert state_of(ours, lost) == "not_found"


@pytest.mark.parametrize("earlier", [True, False])
def test_a_foreign_list_loses_no_render(ours: Runtime, foreign: Runtime, account: UUID, *, earlier: bool) -> None:
    first, second = render(ours, account, "first"), render(ours, account, "second")
    watched = second if earlier else first
    with capture_logs() as logs:
        reported = [check(foreign, watched) for _ in range(2)]
    assert all("is this the key of another account?" in each for each in reported)
    assert [each["log_level"] for each in logs if each["event"] == "account.foreign_list"] == ["error"]
    assert (state_of(ours, watched), count_foreign(ours)) == ("rendering", 1)

    assert check(ours, watched).startswith(("created", "processing"))
    assert count_foreign(ours) == 0


def test_later_renders_under_the_other_key_lose_no_render(ours: Runtime, foreign: Runtime, account: UUID) -> None:
    render(ours, account, "first")
    watched = render(ours, account, "second")
    render(foreign, account, "later")
    assert "another account" in check(foreign, watched)
    assert state_of(ours, watched) == "rendering"


def test_a_render_that_our_own_list_does_not_show_is_lost(ours: Runtime, account: UUID) -> None:
    render(ours, account, "before")
    gone = render(ours, account, "gone")
    change(ours, "prediction", gone, provider_id="gone")
    assert check(ours, gone).startswith("lost")
    assert state_of(ours, gone) == "lost"


def test_old_control_predictions_are_searched_for_at_their_own_time(ours: Runtime, account: UUID) -> None:
    render(ours, account, "before")
    gone = render(ours, account, "gone")
    later = Prediction.provider_created_at + 3 * HOUR
    change(ours, "prediction", gone, provider_id="gone", provider_created_at=later)
    assert check(ours, gone).startswith("lost")
