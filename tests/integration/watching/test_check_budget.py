"""Every request that watches is within the budget: granted, or owed and paid before the next check."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from models import queries, transitions
from models.db.session import transaction
from models.queries.dispatching import DispatchAccount
from rushes.runtime import ACCOUNT, Runtime
from rushes.watching.poll import CheckFailed
from rushes.watching.sweep import sweep_account
from sandbox.wavespeed.handle import Simulator
from tests.support import rows
from tests.support.runtimes import ask, change, check_render
from workers.dispatcher.watch_schedule import WatchScheduler

RATE = 2.0
ROOM = 500


@pytest.fixture
def runtime_settings() -> dict[str, Any]:
    return {"watch_requests_per_second": RATE, "render_median_seconds": 20.0}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(median=600, slots=300, submits_per_minute=100_000) as started:
        yield started


@pytest.fixture
def account_id(runtime: Runtime) -> UUID:
    with transaction(runtime.sessions) as session:
        return transitions.accounts.ensure_account(session, ACCOUNT, slots=300, submits_per_minute=100_000)


def owed(runtime: Runtime) -> int:
    return find_account(runtime).requests_owed


def find_account(runtime: Runtime) -> DispatchAccount:
    with transaction(runtime.sessions) as session:
        account = queries.dispatching.find_account(session, ACCOUNT)
    assert account is not None
    return account


def count_requests(simulator: Simulator) -> int:
    return sum(simulator.stats()["requests"].values())


def sweep(runtime: Runtime, account_id: UUID) -> None:
    now = datetime.now(UTC).timestamp()
    sweep_account(runtime, account_id, created_after=now - 3600, created_before=now)


def test_the_second_page_of_a_sweep_is_owed(runtime: Runtime, simulator: Simulator, account_id: UUID) -> None:
    sweep(runtime, account_id)
    assert owed(runtime) == 0
    for number in range(120):
        runtime.client.submit(rows.VIDEO_MODEL, rows.INPUT | {"prompt": f"a stranger's {number}"})
    before = count_requests(simulator)
    sweep(runtime, account_id)
    assert owed(runtime) == count_requests(simulator) - before - 1 == 1


def add_gone(runtime: Runtime, account_id: UUID) -> UUID:
    """A render that the provider does not know any more, for longer than is odd."""
    with transaction(runtime.sessions) as session:
        gone = rows.add_render(session, "rendering", account_id=account_id, accepted_at=-rows.MINUTE * 5)
        rows.change(session, "prediction", gone.prediction_id, inconsistent_since=-rows.MINUTE * 2, due_at=rows.NOW)
    return gone.prediction_id


def test_the_list_behind_a_lost_render_is_owed(runtime: Runtime, simulator: Simulator, account_id: UUID) -> None:
    gone = add_gone(runtime, account_id)
    before = count_requests(simulator)
    assert check_render(runtime, gone, 0).startswith("lost")
    assert owed(runtime) == count_requests(simulator) - before - 1 == 1


def test_a_list_that_fails_is_owed_all_the_same(runtime: Runtime, simulator: Simulator, account_id: UUID) -> None:
    gone = add_gone(runtime, account_id)
    simulator.set_fault("get_5xx", kind="list")
    with pytest.raises(CheckFailed):
        check_render(runtime, gone, 0)
    assert owed(runtime) == 1


@pytest.mark.parametrize("debt", [0, 9])
def test_no_check_is_made_before_what_is_owed_is_paid(
    runtime: Runtime, account_id: UUID, monkeypatch: pytest.MonkeyPatch, debt: int
) -> None:
    clock = SimpleNamespace(now=1_000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("workers.dispatcher.watch_schedule.time", clock)
    with transaction(runtime.sessions) as session:
        for _ in range(5):  # older than the median, so that a check is due at once; and their windows have ended
            age = timedelta(seconds=30)
            render = rows.add_render(
                session, "rendering", account_id=account_id, accepted_at=-age, provider_created_at=-age
            )
            rows.change(session, "prediction", render.prediction_id, due_at=rows.NOW)
        transitions.lists.owe_requests(session, account_id, count=debt)
    watch_scheduler = WatchScheduler(runtime)

    def choose(*, after: float) -> int:
        clock.now += after
        return len(watch_scheduler.choose_checks(find_account(runtime), count=ROOM, term=1))

    assert choose(after=0) == 0  # renders that were just met rest for a moment
    assert choose(after=0.1) == (0 if debt else 1)
    assert owed(runtime) == max(0, debt - 1)
    assert len(watch_scheduler.requeue_timed_out(count=ROOM)) == (0 if debt else 1)
    if debt:
        change(runtime, "account", requests_owed=0)
        assert choose(after=1.0) == 1


@pytest.mark.parametrize("resumed_by_it", [True, False])
def test_a_resumed_render_was_checked_and_one_that_a_new_leader_meets_not(
    runtime: Runtime, account_id: UUID, *, resumed_by_it: bool
) -> None:
    with transaction(runtime.sessions) as session:
        render = rows.add_render(session, "rendering", account_id=account_id, accepted_at=-rows.MINUTE * 10)
        due = {"due_at": rows.NOW} if resumed_by_it else {"watch_windows": 1}
        rows.change(session, "prediction", render.prediction_id, **due)
    watch_scheduler = WatchScheduler(runtime)
    assert len(watch_scheduler.requeue_timed_out(count=ROOM)) == resumed_by_it
    watch_scheduler.choose_checks(find_account(runtime), count=ROOM, term=1)
    (watched,) = watch_scheduler.schedule._watched.values()
    assert watched.watch_windows == 1
    assert watched.poll_at - watched.early_poll_at == pytest.approx(25.0 if resumed_by_it else 0.0)


def test_the_leader_reports_the_price_of_a_check(runtime: Runtime, account_id: UUID) -> None:
    with transaction(runtime.sessions) as session:
        assert get_price(session) is None
    WatchScheduler(runtime).choose_checks(find_account(runtime), count=ROOM, term=1)
    with transaction(runtime.sessions) as session:
        assert get_price(session) == runtime.settings.find_poll_cost()


def test_the_leader_records_the_requests_of_checks_and_their_budget(
    runtime: Runtime, account_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1_000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("workers.dispatcher.watch_schedule.time", clock)
    age = timedelta(seconds=30)
    with transaction(runtime.sessions) as session:
        for _ in range(3):
            times = {"accepted_at": -age, "provider_created_at": -age, "due_at": rows.NOW}
            rows.add_render(session, "rendering", account_id=account_id, **times)
        transitions.lists.owe_requests(session, account_id, count=2)
    watch_scheduler, made = WatchScheduler(runtime), 2
    for _ in range(9):
        made += len(watch_scheduler.requeue_timed_out(count=ROOM))
        made += len(watch_scheduler.choose_checks(find_account(runtime), count=ROOM, term=1))
        clock.now += 1.0
    assert made > 3
    for _ in range(2):
        clock.now += 10.0
        made += len(watch_scheduler.choose_checks(find_account(runtime), count=0, term=1))
        with transaction(runtime.sessions) as session:
            recorded = rows.read(session, "account", account_id)
        assert (recorded["check_requests"], recorded["check_budget"]) == (made, RATE)


def get_price(session: Session) -> float | None:
    account = queries.summary.summarise_account(session, ACCOUNT)
    assert account is not None
    return account.check_price


def test_another_leader_pays_what_the_first_one_left(runtime: Runtime, account_id: UUID) -> None:
    with transaction(runtime.sessions) as session:
        transitions.lists.owe_requests(session, account_id, count=3)
    for left in (2, 1):
        WatchScheduler(runtime).choose_checks(find_account(runtime), count=ROOM, term=1)
        assert owed(runtime) == left


def test_a_payment_is_never_more_than_the_debt(runtime: Runtime, account_id: UUID) -> None:
    with transaction(runtime.sessions) as session:
        assert not transitions.lists.pay_requests(session, account_id, count=1)
        transitions.lists.owe_requests(session, account_id, count=1)
        assert transitions.lists.pay_requests(session, account_id, count=4)
    assert ask(runtime, "SELECT requests_owed FROM account") == [(0,)]
