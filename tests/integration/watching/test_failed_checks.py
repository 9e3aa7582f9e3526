"""A check that failed has seen nothing: the poll is made again after a short back-off."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from models import queries, transitions
from models.db.session import transaction
from rushes.runtime import ACCOUNT, Runtime
from rushes.timing import RetryPolicy
from rushes.watching import poll as watching
from rushes.watching.poll import CheckFailed
from sandbox.wavespeed.handle import Simulator
from tests.support import rows
from tests.support.runtimes import ask, change, check_render
from tests.support.simulator_client import wait_until
from workers.dispatcher.publisher import Message
from workers.dispatcher.watch_schedule import WatchScheduler


@pytest.fixture
def runtime_settings() -> dict[str, Any]:
    """Renders of such a length that no check is worth its price for an hour."""
    return {"render_median_seconds": 86_400.0, "poll_shortest_seconds": 0.2}


@pytest.fixture
def prediction_id(runtime: Runtime) -> UUID:
    with transaction(runtime.sessions) as session:
        account_id = transitions.accounts.ensure_account(session, ACCOUNT, slots=9, submits_per_minute=600)
        return rows.add_render(session, "rendering", account_id=account_id).prediction_id


def choose(runtime: Runtime, watch_scheduler: WatchScheduler) -> list[Message]:
    with transaction(runtime.sessions) as session:
        account = queries.dispatching.find_account(session, ACCOUNT)
    assert account is not None
    return [*watch_scheduler.choose_checks(account, count=9, term=1)]


def test_a_failed_poll_is_repeated_and_its_early_check_request_kept(
    runtime: Runtime, simulator: Simulator, prediction_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_hour = RetryPolicy(base=timedelta(hours=1), cap=timedelta(hours=1))
    monkeypatch.setattr(watching, "CHECK_FAILED", an_hour)
    monkeypatch.setattr("random.random", lambda: 0.5)  # the jitter may be next to nothing
    watch_scheduler = WatchScheduler(runtime)
    assert choose(runtime, watch_scheduler) == []
    with transaction(runtime.sessions) as session:
        transitions.renders.request_early_checks(session, [prediction_id])
    polls: list[Message] = []
    wait_until(lambda: polls.extend(choose(runtime, watch_scheduler)) or bool(polls), "the poll")
    simulator.set_fault("get_5xx")
    with pytest.raises(CheckFailed):
        check_render(runtime, prediction_id, 0)
    assert choose(runtime, watch_scheduler) == []  # all checks are held
    change(runtime, "account", check_back_off_until=rows.NOW)
    wait_until(lambda: polls.extend(choose(runtime, watch_scheduler)) or len(polls) > 1, "another poll")
    assert [(each.task, each.args) for each in polls] == [("watch.poll", (str(prediction_id), 0))] * 2


def test_an_answered_poll_leaves_no_early_check_request(runtime: Runtime, prediction_id: UUID) -> None:
    check_render(runtime, prediction_id, 0)
    assert ask(runtime, "SELECT early_check_at FROM prediction") == [(None,)]
