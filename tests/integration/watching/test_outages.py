"""An outage of the provider is two requests in a row without a usable answer, of whatever kind; any answer ends it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from models import Account, queries, transitions
from models.db.session import transaction
from rushes.access.callers import act_locally
from rushes.account_status import Condition, find_account_status
from rushes.accounts import end_failures, retry_account
from rushes.errors import Conflict
from rushes.reconciling.failed_lists import pause_after
from rushes.runtime import ACCOUNT, Runtime
from rushes.watching.poll import CheckFailed, hold_checks
from rushes.wavespeed.answers import KeyRefused, NoCredit, ProviderUnavailable
from sandbox.wavespeed.handle import Simulator
from tests.support import rows
from tests.support.rows import MINUTE, SECOND
from tests.support.runtimes import ask, change, check_render

COLUMNS = "SELECT provider_failures, provider_failing_since IS NOT NULL, provider_failure FROM account"


@pytest.fixture
def account_id(runtime: Runtime) -> UUID:
    with transaction(runtime.sessions) as session:
        return transitions.accounts.ensure_account(session, ACCOUNT, slots=9, submits_per_minute=600)


@pytest.fixture
def prediction_id(runtime: Runtime, account_id: UUID) -> UUID:
    with transaction(runtime.sessions) as session:
        return rows.add_render(session, "rendering", account_id=account_id).prediction_id


def fail(runtime: Runtime, account_id: UUID, *, elapsed: float = 0.0) -> int:
    with transaction(runtime.sessions) as session:
        return transitions.accounts.note_provider_failure(session, account_id, failure="503", elapsed=elapsed)


def find_condition(runtime: Runtime) -> Condition:
    with transaction(runtime.sessions) as session:
        return find_account_status(session, ACCOUNT).condition


def test_requests_that_were_under_way_together_count_once(runtime: Runtime, account_id: UUID) -> None:
    assert [fail(runtime, account_id), fail(runtime, account_id, elapsed=5.0), fail(runtime, account_id)] == [1, 1, 2]


def test_failures_long_after_each_other_are_not_in_a_row(runtime: Runtime, account_id: UUID) -> None:
    fail(runtime, account_id)
    change(runtime, "account", provider_failed_at=-11 * MINUTE)
    assert fail(runtime, account_id) == 1


def test_a_hold_between_two_failures_does_not_end_the_series(runtime: Runtime, account_id: UUID) -> None:
    fail(runtime, account_id)
    change(runtime, "account", provider_failed_at=-60 * MINUTE, back_off_until=-SECOND)
    assert fail(runtime, account_id) == 2


def test_polls_that_fail_are_an_outage_and_one_answer_ends_it(
    runtime: Runtime, simulator: Simulator, prediction_id: UUID
) -> None:
    simulator.set_fault("get_5xx")
    for _ in range(2):
        with pytest.raises(CheckFailed):
            check_render(runtime, prediction_id, 0)
    assert find_condition(runtime) is Condition.PROVIDER_UNREACHABLE
    change(runtime, "account", back_offs=1, back_off_reason="unreachable", back_off_until=5 * MINUTE)
    simulator.clear_faults()
    check_render(runtime, prediction_id, 0)  # the simulator does not know it, which is an answer
    assert ask(runtime, COLUMNS) == [(0, False, None)]
    assert find_condition(runtime) is Condition.OK
    assert ask(runtime, "SELECT back_off_until <= now(), check_back_off_until <= now() FROM account") == [(True, True)]


@pytest.mark.parametrize(("posted_at", "condition"), [(None, Condition.PROVIDER_UNREACHABLE), (-SECOND, Condition.OK)])
def test_an_answered_check_ends_no_outage_that_holds_a_submission(
    runtime: Runtime, account_id: UUID, posted_at: timedelta | None, condition: Condition
) -> None:
    with transaction(runtime.sessions) as session:
        rows.add_render(session, "submitting", account_id=account_id, posted_at=posted_at)
    failing = {"back_offs": 3, "back_off_reason": "unreachable", "check_failures": 1, "provider_failures": 2}
    change(runtime, "account", **failing, back_off_until=5 * SECOND)
    end_failures(runtime, account_id)  # the answer came over a connection that was opened before
    change(runtime, "account", back_off_until=-SECOND)
    assert find_condition(runtime) is condition


def test_a_failed_check_wakes_the_leader_once_per_hold(
    runtime: Runtime, account_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[bool] = []
    monkeypatch.setattr(runtime.waker, "wake", lambda: woken.append(True))
    monkeypatch.setattr("random.random", lambda: 0.9)
    for _ in range(3):
        hold_checks(runtime, account_id, ProviderUnavailable("503"))
    assert woken == [True]


def test_a_list_that_fails_alone_is_no_outage(runtime: Runtime, simulator: Simulator, account_id: UUID) -> None:
    for _ in range(3):
        pause_after(runtime, account_id, ProviderUnavailable("the list is unreadable"))
    assert ask(runtime, COLUMNS) == [(0, False, None)]
    simulator.set_fault("get_5xx")
    for _ in range(2):
        pause_after(runtime, account_id, ProviderUnavailable("503"))
    assert find_condition(runtime) is Condition.PROVIDER_UNREACHABLE


@pytest.mark.parametrize(
    ("error", "condition"), [(KeyRefused("401"), Condition.KEY_REJECTED), (NoCredit("402"), Condition.NO_CREDIT)]
)
def test_a_refusal_is_an_answer_and_holds_the_account(
    runtime: Runtime, account_id: UUID, error: Any, condition: Condition
) -> None:
    fail(runtime, account_id)
    pause_after(runtime, account_id, error)
    assert ask(runtime, COLUMNS) == [(0, False, None)]
    assert find_condition(runtime) is condition


def test_a_retry_ends_all_waits_and_a_pause_refuses_it(runtime: Runtime, account_id: UUID) -> None:
    names = ("back_off_until", "check_back_off_until", "reconcile_until", "outputs_probe_at")
    with transaction(runtime.sessions) as session:
        later = {"due_at": 5 * MINUTE, "not_before": None}
        held = rows.add_render(session, "submitting", account_id=account_id, **later)
    change(runtime, "account", back_offs=3, back_off_reason="credit", **dict.fromkeys(names, 5 * MINUTE))
    retry_account(runtime.sessions, caller=act_locally("mara"))
    with transaction(runtime.sessions) as session:
        account = session.scalars(select(Account)).one()
        assert max(getattr(account, name) for name in names) <= queries.health.read_clock(session)
    assert ask(runtime, "SELECT id, due_at <= now() FROM prediction") == [(held.prediction_id, True)]
    assert ask(runtime, "SELECT kind, detail->>'by' FROM event") == [("account.retried", "mara")]
    change(runtime, "account", paused_at=-SECOND, paused_reason="person")
    with pytest.raises(Conflict, match="resume"):
        retry_account(runtime.sessions, caller=act_locally("mara"))
