"""While the checks of an account are held none is made, and no watch window ends."""

from collections.abc import Callable
from uuid import UUID

import pytest
from celery import Celery

from models import queries, transitions
from models.db.session import transaction
from models.lifecycle import CHECKS_QUIET
from rushes.runtime import ACCOUNT, Runtime
from rushes.watching.poll import hold_checks
from rushes.wavespeed.answers import KeyRefused
from tests.support import rows
from tests.support.rows import MINUTE, SECOND
from tests.support.runtimes import ask, change
from workers.dispatcher.loop import Dispatcher
from workers.dispatcher.publisher import Message

ROOM = {"resume": 9, "store": 9}
Rounds = Callable[[], list[str]]


@pytest.fixture
def account_id(runtime: Runtime) -> UUID:
    """A render that has outlived its window."""
    with transaction(runtime.sessions) as session:
        account = transitions.accounts.ensure_account(session, ACCOUNT, slots=9, submits_per_minute=600)
        rows.add_render(session, "rendering", account_id=account, due_at=-2 * MINUTE, accepted_at=-12 * MINUTE)
    return account


@pytest.fixture
def make_rounds(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Rounds:
    """One round of a new leader; returns what it publishes."""

    def make() -> list[str]:
        published: list[Message] = []
        leader = Dispatcher(runtime, Celery(), name="test", queues=["submit"], threads=1)
        monkeypatch.setattr(leader._publisher, "publish", published.extend)
        with transaction(runtime.sessions) as session:
            account = queries.dispatching.find_account(session, ACCOUNT)
            chores = queries.dispatching.find_chores(session)
        assert account is not None
        leader._make_rounds(account, chores, ROOM, 1_000.0)
        return sorted(each.task for each in published if each.task.startswith("watch."))

    return make


def test_no_window_ends_until_checks_work_again(runtime: Runtime, account_id: UUID, make_rounds: Rounds) -> None:
    for until in (40 * MINUTE, -SECOND):  # while they wait, and while the next ones may fail again
        change(runtime, "account", check_failures=1, check_back_off_until=until)
        assert make_rounds() == []
    assert ask(runtime, "SELECT watch_windows FROM prediction WHERE state = 'rendering'") == [(0,)]
    change(runtime, "account", check_back_off_until=-MINUTE)
    with transaction(runtime.sessions) as session:
        assert transitions.accounts.clear_check_failures(session, account_id, quiet_for=CHECKS_QUIET)
    assert make_rounds() == ["watch.resume"]
    assert ask(runtime, "SELECT watch_windows FROM prediction WHERE state = 'rendering'") == [(1,)]


def test_work_that_waits_for_the_end_of_a_hold_is_not_late(runtime: Runtime, account_id: UUID) -> None:
    def see() -> tuple[float, float, float]:
        with transaction(runtime.sessions) as session:
            found = queries.dispatching.survey(session, ACCOUNT)
            assert found is not None
            assert found.due.next_seconds is not None
            return (
                found.due.next_seconds,
                queries.health.find_health(session).lag_seconds,
                queries.health.find_farm(session).lag_seconds,
            )

    until_due, *lags = see()
    assert [-until_due, *lags] == pytest.approx([120] * 3, abs=30)
    change(runtime, "account", account_id, check_back_off_until=40 * MINUTE)
    until_due, lag, farm_lag = see()
    assert until_due == pytest.approx(40 * MINUTE / SECOND, abs=30)
    assert lag == 0
    assert farm_lag < 0
    with transaction(runtime.sessions) as session:
        rows.add_render(session, "submitting", account_id=account_id, due_at=-2 * MINUTE)
    assert see()[1:] == pytest.approx((120, 120), abs=30)
    change(runtime, "account", account_id, back_off_until=MINUTE)
    assert max(see()[1:]) <= 0


def test_a_refused_key_is_tried_ever_more_rarely(
    runtime: Runtime, account_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By checks alone: nothing is submitted, and the provider names no time."""
    monkeypatch.setattr("random.random", lambda: 1.0)
    waits: list[float] = []
    for _ in range(6):
        hold_checks(runtime, account_id, KeyRefused("invalid key"))
        ((wait,),) = ask(runtime, "SELECT extract(epoch FROM back_off_until - now())::float8 FROM account")
        waits.append(wait)
        change(runtime, "account", back_off_until=-SECOND, check_back_off_until=-SECOND)
    assert waits == pytest.approx([5, 10, 20, 40, 80, 160], abs=1)
