"""A sweep reads a page of the list: what is over moves, what is unclear is hinted at, strangers are left alone."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from models import Job, queries, transitions
from models.db.session import transaction
from models.queries.watching.renders import PageEntry
from rushes.runtime import Runtime
from rushes.timing import RetryPolicy
from rushes.watching import poll
from rushes.watching import sweep as sweeping
from rushes.watching.poll import CheckFailed
from rushes.watching.schedule import WINDOW_SIZE
from rushes.watching.sweep import sweep_account
from rushes.wavespeed.predictions import ProviderPrediction
from sandbox.wavespeed.handle import Simulator
from tests.support import rows
from tests.support.runtimes import MODEL, accept, ask, begin_submit, change, claim_submits, push, wait_until_over

WINDOW = timedelta(minutes=10)
PATIENCE_SECONDS = 30.0
HELD = "SELECT check_failures, check_back_off_until > now() + interval '10 minutes' FROM account"


@pytest.fixture(autouse=True)
def _unjittered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held checks are held for half an hour: the jitter of a second may be next to nothing."""
    monkeypatch.setattr(poll, "CHECK_FAILED", RetryPolicy(base=timedelta(hours=1), cap=timedelta(hours=1)))
    monkeypatch.setattr("random.random", lambda: 0.5)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(median=0.2, sigma=0.01, slots=300, submits_per_minute=100_000) as started:
        yield started


@pytest.fixture
def account_id(runtime: Runtime) -> UUID:
    with transaction(runtime.sessions) as session:
        return transitions.accounts.ensure_account(session, "default", slots=300, submits_per_minute=100_000)


def render(runtime: Runtime, account_id: UUID, *, count: int, hold: bool = True) -> list[UUID]:
    """Submit `count` jobs; returns their predictions. Held ones are known to the rows."""
    push(runtime, *({"prompt": f"take {number}", "duration": 6} for number in range(count)))
    predictions = []
    for number in range(count):
        (claimed,) = claim_submits(runtime, account_id)  # one by one: a rate slot passes soon
        begin_submit(runtime, claimed)
        accept(runtime, claimed.prediction_id, submit(runtime, f"take {number}"), watch_window=WINDOW)
        predictions.append(claimed.prediction_id)
    return predictions


def submit(runtime: Runtime, prompt: str) -> ProviderPrediction:
    return runtime.client.submit(MODEL, {"prompt": prompt, "duration": 6}, send_before=time.monotonic() + 60)


def sweep(runtime: Runtime, account_id: UUID) -> str:
    """All that was created within the last hour."""
    now = datetime.now(UTC).timestamp()
    return sweep_account(runtime, account_id, created_after=now - 3600, created_before=now)


def test_a_page_moves_every_render_that_has_ended(runtime: Runtime, simulator: Simulator, account_id: UUID) -> None:
    render(runtime, account_id, count=20)
    wait_until_over(simulator)
    before = simulator.stats()["requests"]
    reported = sweep(runtime, account_id)
    assert reported.startswith("20 of 20 completed"), reported
    assert ask(runtime, "SELECT state, count(*) FROM prediction GROUP BY 1") == [("completed", 20)]
    assert ask(runtime, "SELECT state, count(*) FROM job GROUP BY 1") == [("storing", 20)]
    assert ask(runtime, "SELECT count(*) FROM prediction WHERE outputs IS NULL") == [(0,)]
    assert sum(simulator.stats()["requests"].values()) - sum(before.values()) == 1


def test_the_renders_of_one_window_cost_one_request(runtime: Runtime, simulator: Simulator, account_id: UUID) -> None:
    render(runtime, account_id, count=WINDOW_SIZE)
    wait_until_over(simulator)
    before = sum(simulator.stats()["requests"].values())
    assert sweep(runtime, account_id).startswith(f"{WINDOW_SIZE} of {WINDOW_SIZE} completed")
    assert sum(simulator.stats()["requests"].values()) - before == 1


def test_a_render_that_still_runs_is_left_alone(runtime: Runtime, simulator: Simulator, account_id: UUID) -> None:
    simulator.set_fault("task_slow")
    render(runtime, account_id, count=3)
    assert sweep(runtime, account_id).startswith("0 of 3 completed, 0 to be polled, 3 on the page")
    assert ask(runtime, "SELECT state, count(*), count(early_check_at) FROM prediction GROUP BY 1") == [
        ("rendering", 3, 0)
    ]


def test_a_failed_render_is_left_to_a_poll(
    runtime: Runtime, simulator: Simulator, account_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "EARLY_CHECK_QUIET", timedelta(minutes=5))
    simulator.set_fault("task_failed")
    render(runtime, account_id, count=2)
    wait_until_over(simulator)
    assert "2 to be polled" in sweep(runtime, account_id)
    assert "0 to be polled" in sweep(runtime, account_id)  # asked for already
    with transaction(runtime.sessions) as session:
        assert len(rows.list_early_checks(session)) == 2


def test_the_schedule_of_checks_reads_no_texts(runtime: Runtime, simulator: Simulator, account_id: UUID) -> None:
    predictions = render(runtime, account_id, count=1)
    with transaction(runtime.sessions) as session:
        rows.change(session, "job", input=Job.input.concat({"image": "https://example.com/1.png"}))
        (since,) = queries.renders.list_rendering(session, newer_than_seconds=60)
        (of,) = queries.renders.list_rendering_of(session, predictions)
    assert since.values == of.values == {"duration": 6}


def test_predictions_of_others_are_ignored_and_read_past(
    runtime: Runtime, simulator: Simulator, account_id: UUID
) -> None:
    render(runtime, account_id, count=1)
    for number in range(120):
        submit(runtime, f"a stranger's {number}")
    wait_until_over(simulator)
    assert sweep(runtime, account_id) == "1 of 1 completed, 0 to be polled, 121 on the page"


def believe(runtime: Runtime) -> float:
    with transaction(runtime.sessions) as session:
        account = queries.dispatching.find_account(session, "default")
    assert account is not None
    return account.own_share


def test_the_share_of_others_on_a_page_is_measured_and_forgotten(
    runtime: Runtime, simulator: Simulator, account_id: UUID
) -> None:
    render(runtime, account_id, count=15)
    wait_until_over(simulator)
    sweep(runtime, account_id)
    sweep(runtime, account_id)  # those that have ended are ours all the same
    assert ask(runtime, "SELECT own_share, own_share_at FROM account") == [(1, None)]
    for number in range(15):
        submit(runtime, f"a stranger's {number}")
    sweep(runtime, account_id)
    assert believe(runtime) == pytest.approx(1 - 0.3 * 0.5, abs=0.04)  # 30 of 100 entries, half of them ours
    change(runtime, "account", own_share=0.2, own_share_at=rows.NOW)
    sweep(runtime, account_id)
    assert believe(runtime) == pytest.approx(0.2 + 0.3 * 0.3, abs=0.04)
    change(runtime, "account", own_share=0.2, own_share_at=-10 * rows.MINUTE)
    assert believe(runtime) == pytest.approx(0.8, abs=0.01)


def test_a_full_page_of_others_is_believed_at_once(runtime: Runtime, simulator: Simulator, account_id: UUID) -> None:
    render(runtime, account_id, count=30)
    for number in range(90):
        submit(runtime, f"a stranger's {number}")
    sweep(runtime, account_id)
    assert believe(runtime) == pytest.approx(0.25, abs=0.04)


def test_a_render_missing_from_its_page_is_polled_once_it_should_show(
    runtime: Runtime, simulator: Simulator, account_id: UUID
) -> None:
    young, old = render(runtime, account_id, count=2)
    with transaction(runtime.sessions) as session:
        for prediction_id, seconds in ((old, -60), (young, 60)):  # young however long the sweep takes
            unheard_of = {"provider_id": f"unheard-of-{prediction_id}", "accepted_at": timedelta(seconds=seconds)}
            rows.change(session, "prediction", prediction_id, **unheard_of)
    assert "1 to be polled" in sweep(runtime, account_id)
    with transaction(runtime.sessions) as session:
        assert rows.list_early_checks(session) == [old] != [young]


def test_a_list_that_is_late_is_found_out(runtime: Runtime, simulator: Simulator, account_id: UUID) -> None:
    simulator.set_fault("task_slow")
    render(runtime, account_id, count=2)
    with transaction(runtime.sessions) as session:
        rows.change(session, "prediction", state="completed", ended_at=-8 * rows.SECOND, outputs=[])
    assert "late" in sweep(runtime, account_id)
    ((lag,),) = ask(runtime, "SELECT sweep_lag_seconds FROM account")
    assert 7.5 < lag < 7.5 + PATIENCE_SECONDS
    with transaction(runtime.sessions) as session:
        account = queries.dispatching.find_account(session, "default")
    assert account is not None
    assert account.sweep_lag_seconds == pytest.approx(lag, rel=0.2)


def test_a_list_that_fails_as_results_do_holds_the_checks(
    runtime: Runtime, simulator: Simulator, account_id: UUID
) -> None:
    simulator.set_fault("get_5xx")
    render(runtime, account_id, count=1)
    with pytest.raises(CheckFailed):
        sweep(runtime, account_id)
    assert ask(runtime, HELD) == [(1, True)]
    assert ask(runtime, "SELECT sweep_lag_seconds FROM account") == [(0,)]


@pytest.mark.parametrize("known", [True, False])
def test_a_list_that_fails_alone_counts_as_ever_later(
    runtime: Runtime, simulator: Simulator, account_id: UUID, *, known: bool
) -> None:
    simulator.set_fault("get_5xx", kind="list")
    render(runtime, account_id, count=1)
    if not known:
        change(runtime, "prediction", provider_id="gone")
    lags: list[object] = []
    for _ in range(5):
        with pytest.raises(CheckFailed):
            sweep(runtime, account_id)
        lags += ask(runtime, "SELECT round(sweep_lag_seconds / 5) * 5 FROM account")  # it decays meanwhile
    assert lags == [(5,), (10,), (20,), (40,), (60,)]
    assert ask(runtime, HELD) == [(0, None)]
    assert ask(runtime, "SELECT requests_owed FROM account") == [(5,)]  # one result each


def test_lists_that_fail_together_are_one_failure_and_reduce_no_lag(runtime: Runtime, account_id: UUID) -> None:
    def fail(elapsed: float) -> bool:
        with transaction(runtime.sessions) as session:
            return transitions.lists.note_list_failure(session, account_id, elapsed=elapsed)

    assert fail(elapsed=600.0)
    assert not fail(elapsed=600.0)
    change(runtime, "account", sweep_lag_seconds=100, sweep_lag_at=-20 * rows.SECOND)
    assert fail(elapsed=10.0)
    ((lag,),) = ask(runtime, "SELECT sweep_lag_seconds FROM account")
    assert 90 < lag < 100


def test_a_list_that_refuses_holds_the_checks(runtime: Runtime, simulator: Simulator, account_id: UUID) -> None:
    simulator.set_fault("get_429", kind="list")
    render(runtime, account_id, count=1)
    with pytest.raises(CheckFailed):
        sweep(runtime, account_id)
    assert ask(runtime, HELD) == [(1, True)]


def test_a_completion_that_somebody_else_wrote_first_is_counted_as_late(
    runtime: Runtime, simulator: Simulator, account_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = render(runtime, account_id, count=2)
    wait_until_over(simulator)

    def list_then_complete(session: Session, *asked: Any, **window: Any) -> list[PageEntry]:
        listed = queries.renders.list_page(session, *asked, **window)
        claim = next(each.claim for each in listed if each.prediction_id == first)
        with transaction(runtime.sessions) as other:
            assert transitions.renders.complete_prediction(other, first, claim, outputs=["https://example.com/x.mp4"])
        return listed

    monkeypatch.setattr(sweeping, "list_page", list_then_complete)
    assert sweep(runtime, account_id).startswith("1 of 2 completed")
    assert ask(runtime, "SELECT kind, count FROM stale_write") == [("sweep.outcome", 1)]
