"""What a late worker writes is counted and moves nothing; what the provider seems to have lost is searched for
first."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from chaos.report import read_purchases
from models import Prediction, PredictionState, transitions
from models.db.session import transaction
from models.lifecycle import Reason
from models.transitions.admission import ClaimedSubmit
from rushes.jobs.views import get_job
from rushes.monitoring.audit import audit_rows, compare_with_ledger
from rushes.provider_list import lookup
from rushes.runtime import Runtime
from rushes.storing.failures import StoreDelayed, StoreStopped
from rushes.storing.store import store_output
from rushes.submitting.submit import SubmitUnconfirmed, submit_prediction
from rushes.watching import poll
from rushes.watching.poll import CheckFailed
from rushes.wavespeed.answers import PredictionNotFound
from rushes.wavespeed.predictions import PredictionPage, PredictionStatus, ProviderPrediction
from sandbox.wavespeed.handle import Simulator
from tests.support.rows import MINUTE, NOW
from tests.support.runtimes import LEASE, PATIENCE_SECONDS, change, check_render, claim_submits, push, wish


class Render(NamedTuple):
    """A job in the provider's hands."""

    job_id: UUID
    prediction_id: UUID
    claim: int


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(median=0.1, sigma=0.01) as started:
        yield started


def admit(runtime: Runtime) -> Render:
    with transaction(runtime.sessions) as session:
        account = transitions.accounts.ensure_account(session, "default", slots=1, submits_per_minute=60)
    (job_id,) = push(runtime, wish())
    (claimed,) = claim_submits(runtime, account)
    return Render(job_id, claimed.prediction_id, claimed.claim)


@pytest.fixture
def render(runtime: Runtime) -> Render:
    """Accepted by the provider."""
    admitted = admit(runtime)
    submit_prediction(runtime, admitted.prediction_id, admitted.claim)
    return admitted


def ask(runtime: Runtime, query: str) -> object:
    with transaction(runtime.sessions) as session:
        return session.execute(text(query)).scalar_one_or_none()


def stale_writes(runtime: Runtime) -> dict[str, int]:
    with transaction(runtime.sessions) as session:
        return {row.kind: row.count for row in session.execute(text("SELECT kind, count FROM stale_write"))}


def check(runtime: Runtime, render: Render) -> str:
    return check_render(runtime, render.prediction_id, render.claim)


@pytest.fixture
def lost_results(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> None:
    """The provider's results answer 404 for everything; its list is as ever."""

    def find_nothing(_: str) -> ProviderPrediction:
        raise PredictionNotFound("status 404")

    monkeypatch.setattr(runtime.client, "get_prediction", find_nothing)


@pytest.mark.usefixtures("lost_results")
def test_a_404_for_a_render_that_the_list_shows_is_never_a_loss(runtime: Runtime, render: Render) -> None:
    assert check(runtime, render).startswith("inconsistent")
    change(runtime, "prediction", inconsistent_since=-5 * MINUTE)
    assert check(runtime, render).endswith("but its list shows it")
    assert ask(runtime, "SELECT state FROM prediction") == "rendering"


def test_a_404_that_lasts_is_a_loss_once_a_list_has_answered_without_it(
    runtime: Runtime, simulator: Simulator, render: Render
) -> None:
    change(runtime, "prediction", provider_id="gone")
    assert check(runtime, render).startswith("inconsistent")
    assert check(runtime, render).startswith("inconsistent")  # it has not lasted yet
    change(runtime, "prediction", inconsistent_since=-5 * MINUTE)
    simulator.set_fault("get_5xx", kind="list")
    with pytest.raises(CheckFailed):
        check(runtime, render)
    assert ask(runtime, "SELECT state FROM prediction") == "rendering"
    assert ask(runtime, "SELECT early_check_at FROM prediction") is None  # the others go first when checks go on

    simulator.clear_faults()
    assert check(runtime, render).startswith("lost")
    assert ask(runtime, "SELECT state FROM job") == "failed"


@pytest.mark.usefixtures("lost_results")
@pytest.mark.parametrize("page", [{"unreadable": 1}, {"is_last": False}], ids=["unreadable", "endless"])
def test_an_unusable_list_decides_nothing_and_delays_no_other_check(
    runtime: Runtime, render: Render, monkeypatch: pytest.MonkeyPatch, page: dict[str, Any]
) -> None:
    asked: list[dict[str, Any]] = []

    def report_nothing(**options: Any) -> PredictionPage:
        asked.append(options)
        return replace(PredictionPage(items=(), unreadable=0, is_last=True), **page)

    monkeypatch.setattr(runtime.client, "list_predictions", report_nothing)
    monkeypatch.setattr(lookup, "PAGE_LIMIT", 3)
    check(runtime, render)
    change(runtime, "prediction", inconsistent_since=-5 * MINUTE)
    assert check(runtime, render).startswith("inconsistent")
    pages = len(asked)
    assert 1 <= pages <= 3
    assert check(runtime, render).startswith("inconsistent")  # a minute has to pass before the list is asked again
    assert len(asked) == pages
    with transaction(runtime.sessions) as session:
        ((state, early_check_at),) = session.execute(text("SELECT state, early_check_at FROM prediction")).all()
        ((failures, held_until),) = session.execute(text("SELECT check_failures, check_back_off_until FROM account"))
    assert (state, early_check_at, failures, held_until) == ("rendering", None, 0, None)


@pytest.mark.usefixtures("lost_results")
@pytest.mark.parametrize(("reported", "margin"), [(True, 1), (False, 10)])
def test_the_list_is_read_more_widely_around_our_time_than_the_providers(
    runtime: Runtime, render: Render, monkeypatch: pytest.MonkeyPatch, *, reported: bool, margin: int
) -> None:
    asked: list[dict[str, Any]] = []
    list_predictions = runtime.client.list_predictions
    monkeypatch.setattr(
        runtime.client, "list_predictions", lambda **options: asked.append(options) or list_predictions(**options)
    )
    if not reported:
        change(runtime, "prediction", provider_created_at=None)
    check(runtime, render)
    change(runtime, "prediction", inconsistent_since=-5 * MINUTE)
    assert check(runtime, render).endswith("but its list shows it")
    assert asked[0]["created_before"] - asked[0]["created_after"] == timedelta(minutes=2 * margin)


def until_ended(runtime: Runtime, render: Render) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while ask(runtime, "SELECT state FROM prediction WHERE state = 'rendering'") == "rendering":
        assert time.monotonic() < deadline
        check(runtime, render)


def test_a_failed_render_is_bought_anew_after_a_wait_that_doubles(
    runtime: Runtime, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.random", lambda: 0.5)
    simulator.set_fault("task_failed")
    submitted = admit(runtime)
    submit_prediction(runtime, submitted.prediction_id, submitted.claim)
    change(runtime, "prediction", attempt=3)
    until_ended(runtime, submitted)
    waits = ask(runtime, "SELECT round(extract(epoch FROM job.due_at - prediction.ended_at)) FROM job, prediction")
    assert waits == 10  # half of 5 s, doubled twice


def claim_store(runtime: Runtime) -> int:
    waiting = (Prediction.state == "completed", Prediction.due_at.is_not(None))
    change(runtime, "prediction", *waiting, due_at=NOW, begun_at=None)
    with transaction(runtime.sessions) as session:
        (claimed,) = transitions.claims.claim_stores(session, count=1, lease=LEASE)
    return claimed.claim


def test_an_expired_address_of_a_video_is_asked_for_afresh(
    runtime: Runtime, simulator: Simulator, render: Render
) -> None:
    until_ended(runtime, render)
    change(runtime, "prediction", outputs=[f"{simulator.url}/output/gone.mp4"])
    with pytest.raises(StoreDelayed, match="status 404"):
        store_output(runtime, render.prediction_id, claim_store(runtime), must_stop=lambda: False)
    assert store_output(runtime, render.prediction_id, claim_store(runtime), must_stop=lambda: False).startswith(
        "stored"
    )
    assert stale_writes(runtime) == {}


def test_a_store_step_that_was_taken_over_is_counted_and_moves_nothing(
    runtime: Runtime, render: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rushes.storing.store.AWAY_AFTER_SECONDS", 600.0)
    monkeypatch.setattr("rushes.storing.store.RENEW_SECONDS", 0.0)  # the freeze below takes no time
    until_ended(runtime, render)
    taken: list[int] = []

    def be_frozen_past_the_lease() -> bool:
        if not taken:
            taken.append(claim_store(runtime))
        return False

    with pytest.raises(StoreStopped, match="another worker"):
        store_output(runtime, render.prediction_id, claim_store(runtime), must_stop=be_frozen_past_the_lease)
    assert stale_writes(runtime) == {"store.renew": 1}
    assert ask(runtime, "SELECT count(*) FROM event WHERE kind = 'store.delayed'") == 0
    assert store_output(runtime, render.prediction_id, taken[0], must_stop=lambda: False).startswith("stored")


def test_the_outcome_of_a_check_that_was_overtaken_is_counted(
    runtime: Runtime, render: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge: Callable[..., str] = poll._judge

    def judge_after_the_window_ended(*seen: object) -> str:
        change(runtime, "prediction", claim=Prediction.claim + 1)
        return judge(*seen)

    monkeypatch.setattr(poll, "_judge", judge_after_the_window_ended)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not stale_writes(runtime):
        assert time.monotonic() < deadline
        claim = ask(runtime, "SELECT claim FROM prediction")
        check(runtime, render._replace(claim=int(str(claim))))
    assert stale_writes(runtime) == {"watch.outcome": 1}
    assert ask(runtime, "SELECT state FROM prediction") == "rendering"


def test_an_unconfirmed_submission_that_comes_after_the_lease_is_counted(
    runtime: Runtime, simulator: Simulator
) -> None:
    admitted = admit(runtime)
    simulator.set_fault("submit_504", count=1)
    submit = runtime.client.submit

    def be_slow(*args: object, **kwargs: object) -> ProviderPrediction:
        try:
            return submit(*args, **kwargs)  # type: ignore[arg-type]
        finally:
            change(runtime, "prediction", due_at=NOW)
            with transaction(runtime.sessions) as session:
                assert len(transitions.submitting.mark_overdue_unconfirmed(session)) == 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime.client, "submit", be_slow)
        with pytest.raises(SubmitUnconfirmed):
            submit_prediction(runtime, admitted.prediction_id, admitted.claim)
    assert stale_writes(runtime) == {"submit.unconfirmed": 1}


def test_a_render_ran_at_least_until_the_last_poll_that_saw_it_running(runtime: Runtime, render: Render) -> None:
    find = runtime.client.get_prediction
    with pytest.MonkeyPatch.context() as patch:  # however soon it ends
        running = {"status": PredictionStatus.PROCESSING, "outputs": ()}
        patch.setattr(runtime.client, "get_prediction", lambda provider_id: replace(find(provider_id), **running))
        assert check(runtime, render).startswith("processing")
    until_ended(runtime, render)
    assert ask(runtime, "SELECT accepted_at < seen_running_at AND seen_running_at < ended_at FROM prediction") is True


@pytest.mark.parametrize("retried", [False, True])
def test_a_completion_without_a_file_is_spent_and_only_a_person_retries_it(
    runtime: Runtime, simulator: Simulator, retried: bool
) -> None:
    simulator.set_fault("task_without_outputs", count=1)
    empty = admit(runtime)
    submit_prediction(runtime, empty.prediction_id, empty.claim)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while ask(runtime, "SELECT inconsistent_since FROM prediction") is None:
        assert time.monotonic() < deadline
        check(runtime, empty)
    change(runtime, "prediction", inconsistent_since=-5 * MINUTE)
    assert check(runtime, empty).startswith("no_output: completed without an output (")
    assert ask(runtime, "SELECT state || ' ' || error_code FROM job") == "failed no_output"
    assert get_job(runtime.sessions, empty.job_id).spent == Decimal("0.24")
    if retried:
        with transaction(runtime.sessions) as session:
            assert transitions.retries.retry_job(session, empty.job_id) == "queued"
            (again,) = submit_all(session)
        submit_prediction(runtime, again.prediction_id, again.claim)
        until_ended(runtime, Render(empty.job_id, again.prediction_id, again.claim))
        store_output(runtime, again.prediction_id, claim_store(runtime), must_stop=lambda: False)
        assert get_job(runtime.sessions, empty.job_id).spent == Decimal("0.48")
    with transaction(runtime.sessions) as session:
        findings = [*audit_rows(session), *compare_with_ledger(session, read_purchases(simulator).books, drained=True)]
    assert [each for each in findings if each.is_broken] == []


def submit_all(session: Session) -> list[ClaimedSubmit]:
    account = transitions.accounts.ensure_account(session, "default", slots=1, submits_per_minute=60)
    transitions.admission.admit_jobs(session, account, count=1)
    return transitions.admission.claim_submits(session, account, count=1, lease=LEASE)


def test_an_empty_completion_excuses_no_second_purchase(runtime: Runtime, render: Render) -> None:
    end = {"state": PredictionState.FAILED, "resubmit_after": timedelta(0)}
    with transaction(runtime.sessions) as session:
        transitions.renders.end_prediction(
            session, render.prediction_id, render.claim, reason=Reason("no_output", "x"), **end
        )
        (again,) = submit_all(session)
    submit_prediction(runtime, again.prediction_id, again.claim)
    with transaction(runtime.sessions) as session:
        assert {each.name for each in audit_rows(session) if each.is_broken} == {"bought_once"}
