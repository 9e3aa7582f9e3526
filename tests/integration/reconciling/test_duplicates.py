"""A prediction that is found after `not_found` is watched, stored next to its job's video, and settled; its job is
left."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from chaos.report import read_purchases
from models import ArtifactKind, Prediction, transitions
from models.db.session import transaction
from models.lifecycle import PredictionState, Reason
from models.queries.audit import list_purchases
from models.transitions.storing.claims import MAX_STORE_CRASHES
from models.transitions.storing.steps import NewArtifact
from rushes.access.callers import act_locally
from rushes.jobs.retry import retry_job
from rushes.jobs.views import get_duplicate_file, get_job
from rushes.monitoring import audit
from rushes.runtime import Runtime
from rushes.storing.failures import StoreDelayed
from rushes.storing.store import store_output
from rushes.submitting.submit import SubmitUnconfirmed, submit_prediction
from rushes.wavespeed.answers import PredictionNotFound
from rushes.wavespeed.predictions import PredictionPage, PredictionStatus, ProviderPrediction
from sandbox.wavespeed.handle import Simulator
from tests.support.rows import DAY, MINUTE, NOW, SHA256
from tests.support.runtimes import (
    LEASE,
    PATIENCE_SECONDS,
    PRICE,
    ask,
    change,
    check_render,
    claim_submits,
    push,
    reconcile,
    wait_until_over,
    wish,
)
from tests.support.simulator_client import wait_until

VIDEO = NewArtifact(ArtifactKind.VIDEO, "file:///a.mp4", 7, SHA256)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(median=0.2, sigma=0.01) as started:
        yield started


@pytest.fixture
def runtime_settings() -> dict[str, Any]:
    return {"slots": 1, "submits_per_minute": 60}


@pytest.fixture
def account(runtime: Runtime) -> UUID:
    with transaction(runtime.sessions) as session:
        return transitions.accounts.ensure_account(session, "default", slots=1, submits_per_minute=60)


@pytest.fixture
def job_id(runtime: Runtime, account: UUID) -> UUID:
    return push(runtime, wish())[0]


@pytest.fixture
def not_found_id(runtime: Runtime, simulator: Simulator, account: UUID, job_id: UUID) -> UUID:
    """Shown by the provider long after its gateway gave up, and marked not found in between."""
    simulator.set_fault("submit_504", count=1)
    simulator.set_fault("list_lag", delay=86_400.0)
    prediction_id, claim = begin(runtime, account)
    with pytest.raises(SubmitUnconfirmed):
        submit_prediction(runtime, prediction_id, claim)
    change(runtime, "prediction", posted_at=Prediction.posted_at - 10 * MINUTE, due_at=NOW)
    assert "not found 1" in reconcile(runtime, account)
    simulator.clear_fault("list_lag")
    change(runtime, "account", reconcile_until=None, swept_at=None)
    return prediction_id


@pytest.fixture
def duplicate_id(runtime: Runtime, account: UUID, not_found_id: UUID) -> UUID:
    """The same, found when its job has been bought anew."""
    prediction_id, claim = begin(runtime, account)
    submit_prediction(runtime, prediction_id, claim)
    assert "found late: adopted 0, duplicates 1" in reconcile(runtime, account)
    return not_found_id


def begin(runtime: Runtime, account: UUID) -> tuple[UUID, int]:
    (claimed,) = claim_submits(runtime, account)
    return claimed.prediction_id, claimed.claim


def read(runtime: Runtime, prediction_id: UUID) -> dict[str, Any]:
    with transaction(runtime.sessions) as session:
        query = text("SELECT * FROM prediction WHERE id = :id")
        return dict(session.execute(query, {"id": prediction_id}).mappings().one())


def watch(runtime: Runtime, prediction_id: UUID) -> None:
    """Check until there is an outcome."""

    def has_outcome() -> bool:
        check_render(runtime, prediction_id, read(runtime, prediction_id)["claim"])
        return read(runtime, prediction_id)["ended_at"] is not None

    wait_until(has_outcome, "an outcome", seconds=PATIENCE_SECONDS)


def claim_store(runtime: Runtime) -> int:
    waiting = (Prediction.is_duplicate, Prediction.state == "completed", Prediction.due_at.is_not(None))
    change(runtime, "prediction", *waiting, due_at=NOW)
    with transaction(runtime.sessions) as session:
        transitions.claims.take_back_stores(session, count=5)
        (claimed,) = transitions.claims.claim_stores(session, count=5, lease=LEASE)
    return claimed.claim


def keep(runtime: Runtime, prediction_id: UUID) -> str:
    return store_output(runtime, prediction_id, claim_store(runtime), must_stop=lambda: False)


def test_a_duplicate_purchase_is_watched_and_stored_apart_from_its_job(
    runtime: Runtime, simulator: Simulator, job_id: UUID, duplicate_id: UUID
) -> None:
    before = get_job(runtime.sessions, job_id)
    assert (before.job.state, before.held, before.spent) == ("rendering", 2 * PRICE, 0)
    watch(runtime, duplicate_id)
    assert keep(runtime, duplicate_id).startswith("stored")
    assert check_render(runtime, duplicate_id, read(runtime, duplicate_id)["claim"]) == "stale: nothing to watch"
    kept = get_job(runtime.sessions, job_id)
    assert (kept.job.state, kept.find_file(ArtifactKind.VIDEO), kept.spent) == ("rendering", None, PRICE)

    prediction_id, claim = find_own(runtime)
    wait_until(
        lambda: check_render(runtime, prediction_id, claim) != "" and is_storing(runtime, job_id),
        "the job's own render ends",
        seconds=PATIENCE_SECONDS,
    )
    with transaction(runtime.sessions) as session:
        (store,) = transitions.claims.claim_stores(session, count=1, lease=LEASE)
    store_output(runtime, store.prediction_id, store.claim, must_stop=lambda: False)

    view = get_job(runtime.sessions, job_id)
    own, duplicate = (
        view.find_file(ArtifactKind.VIDEO),
        get_duplicate_file(runtime.sessions, duplicate_id, ArtifactKind.VIDEO),
    )
    assert own is not None
    assert duplicate.url == own.url.replace(".mp4", ".duplicate-1.mp4")
    content = runtime.store.open(duplicate.url).read()
    assert hashlib.sha256(content).hexdigest() == duplicate.sha256
    assert (view.job.state, view.spent, view.held) == ("succeeded", 2 * PRICE, 0)
    books = replace(read_purchases(simulator).books, most_unfinished=None)  # another test may have used more slots
    with transaction(runtime.sessions) as session:
        assert names(audit.compare_with_ledger(session, books, drained=True)) == set()
        assert names(audit.audit_rows(session)) == {"bought_once", "no_duplicate"}  # paid for twice, and reported


def test_a_purchase_found_before_its_job_is_bought_anew_goes_to_the_job(
    runtime: Runtime, simulator: Simulator, account: UUID, job_id: UUID, not_found_id: UUID
) -> None:
    change(runtime, "prediction", accepted_at=NOW)  # sweeps begin once something was accepted
    assert "found late: adopted 1, duplicates 0" in reconcile(runtime, account)
    assert claim_submits(runtime, account) == []
    view = get_job(runtime.sessions, job_id)
    assert (view.job.state, view.held + view.spent) in {("rendering", PRICE), ("storing", PRICE)}
    (task,) = simulator.tasks()
    rows = "SELECT state, provider_id FROM prediction ORDER BY id"
    assert ask(runtime, rows)[0] == ("not_found", None)
    assert ask(runtime, rows)[1][1] == task["id"]


@pytest.fixture
def refunded(simulator: Simulator) -> None:
    """The first render fails for a reason of the input's, and is given back."""
    simulator.set_fault("task_moderated", count=1)


@pytest.mark.usefixtures("refunded")
def test_a_refunded_purchase_that_is_found_late_is_no_attempt_of_its_job(
    runtime: Runtime, simulator: Simulator, account: UUID, job_id: UUID, not_found_id: UUID
) -> None:
    wait_until_over(simulator)
    change(runtime, "prediction", accepted_at=NOW)  # sweeps begin once something was accepted
    assert "found late: adopted 0, duplicates 1" in reconcile(runtime, account)
    assert get_job(runtime.sessions, job_id).job.state == "queued"
    watch(runtime, not_found_id)
    assert read(runtime, not_found_id)["state"] == "failed"
    assert get_job(runtime.sessions, job_id).spent == 0


def test_a_purchase_found_late_without_a_file_goes_to_the_waiting_job(
    runtime: Runtime, simulator: Simulator, account: UUID, not_found_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until_over(simulator)
    change(runtime, "prediction", accepted_at=NOW)  # sweeps begin once something was accepted
    list_predictions = runtime.client.list_predictions

    def list_without_outputs(**options: Any) -> PredictionPage:
        page = list_predictions(**options)
        return replace(page, items=tuple(replace(each, outputs=()) for each in page.items))

    monkeypatch.setattr(runtime.client, "list_predictions", list_without_outputs)
    assert "found late: adopted 1, duplicates 0" in reconcile(runtime, account)
    assert read(runtime, not_found_id)["state"] == "not_found"
    assert claim_submits(runtime, account) == []


def find_own(runtime: Runtime) -> tuple[UUID, int]:
    """The prediction that the job waits for, and its claim."""
    ((prediction_id, claim),) = ask(
        runtime, "SELECT id, claim FROM prediction WHERE state = 'rendering' AND NOT is_duplicate"
    )
    return prediction_id, claim


def is_storing(runtime: Runtime, job_id: UUID) -> bool:
    return get_job(runtime.sessions, job_id).job.state == "storing"


def names(findings: list[audit.Finding]) -> set[str]:
    return {each.name for each in findings if each.is_broken}


def test_a_duplicate_purchase_that_fails_is_given_back(
    runtime: Runtime, simulator: Simulator, duplicate_id: UUID
) -> None:
    duplicate = read(runtime, duplicate_id)
    with transaction(runtime.sessions) as session:
        outcome, reason = PredictionState.FAILED, Reason("task_failed", "some words")
        assert transitions.renders.end_prediction(
            session, duplicate_id, duplicate["claim"], state=outcome, reason=reason, resubmit_after=timedelta(0)
        )
    view = get_job(runtime.sessions, duplicate["job_id"])
    assert (view.held, view.spent, view.job.state) == (PRICE, 0, "rendering")  # of its own
    with transaction(runtime.sessions) as session:
        assert {each.state for each in list_purchases(session)} == {"failed", "rendering"}
        assert names(audit.audit_rows(session)) == {"no_duplicate"}


def end_own(runtime: Runtime, *, resubmit_after: timedelta | None) -> None:
    """The render that the job waits for fails."""
    prediction_id, claim = find_own(runtime)
    outcome, reason = PredictionState.FAILED, Reason("task_failed", "some words")
    with transaction(runtime.sessions) as session:
        assert transitions.renders.end_prediction(
            session, prediction_id, claim, state=outcome, reason=reason, resubmit_after=resubmit_after
        )


@pytest.mark.parametrize("resubmit_after", [timedelta(0), None])
def test_a_job_with_a_stored_duplicate_purchase_is_not_bought_again(
    runtime: Runtime, account: UUID, job_id: UUID, duplicate_id: UUID, resubmit_after: timedelta | None
) -> None:
    watch(runtime, duplicate_id)
    assert keep(runtime, duplicate_id).startswith("stored")
    end_own(runtime, resubmit_after=resubmit_after)
    view = get_job(runtime.sessions, job_id)
    own, duplicate = (
        view.find_file(ArtifactKind.VIDEO),
        get_duplicate_file(runtime.sessions, duplicate_id, ArtifactKind.VIDEO),
    )
    assert (view.job.state, view.job.error_code, view.spent, view.held) == ("succeeded", None, PRICE, 0)
    assert own is not None
    assert (own.id, own.prediction_id) == (duplicate.id, duplicate_id)
    ((event,),) = ask(runtime, "SELECT detail FROM event WHERE kind = 'job.succeeded'")
    assert event == {"url": own.url, "bytes": own.bytes, "sha256": own.sha256}
    assert claim_submits(runtime, account) == []
    with transaction(runtime.sessions) as session:
        assert names(audit.audit_rows(session)) == {"no_duplicate"}


def test_a_queued_job_waits_for_its_duplicate_and_takes_its_file(
    runtime: Runtime, account: UUID, job_id: UUID, duplicate_id: UUID
) -> None:
    end_own(runtime, resubmit_after=timedelta(0))  # the duplicate renders
    assert claim_submits(runtime, account) == []
    view = get_job(runtime.sessions, job_id, explained=True)
    assert view.job.state == "queued"
    assert view.wait is not None
    assert str(duplicate_id) in view.wait.message
    watch(runtime, duplicate_id)
    assert claim_submits(runtime, account) == []  # its output is to be stored
    assert keep(runtime, duplicate_id).startswith("stored")
    view = get_job(runtime.sessions, job_id)
    file = view.find_file(ArtifactKind.VIDEO)
    assert file is not None
    assert (view.job.state, file.prediction_id, view.spent, view.held) == ("succeeded", duplicate_id, PRICE, 0)
    with transaction(runtime.sessions) as session:
        assert names(audit.audit_rows(session)) == {"no_duplicate"}


def test_a_queued_job_is_bought_again_once_its_duplicate_has_failed(
    runtime: Runtime, account: UUID, duplicate_id: UUID
) -> None:
    end_own(runtime, resubmit_after=timedelta(0))
    assert claim_submits(runtime, account) == []
    duplicate = read(runtime, duplicate_id)
    with transaction(runtime.sessions) as session:
        outcome, reason = PredictionState.FAILED, Reason("task_failed", "some words")
        assert transitions.renders.end_prediction(
            session, duplicate_id, duplicate["claim"], state=outcome, reason=reason, resubmit_after=timedelta(0)
        )
    assert len(claim_submits(runtime, account)) == 1


def test_a_retry_follows_a_duplicate_that_was_stored_after_the_failure(
    runtime: Runtime, account: UUID, job_id: UUID, duplicate_id: UUID
) -> None:
    end_own(runtime, resubmit_after=None)
    watch(runtime, duplicate_id)
    assert keep(runtime, duplicate_id).startswith("stored")
    assert get_job(runtime.sessions, job_id).job.state == "failed"
    assert retry_job(runtime.sessions, job_id, caller=act_locally("mara")) == "succeeded"
    file = get_job(runtime.sessions, job_id).find_file(ArtifactKind.VIDEO)
    assert file is not None
    assert file.prediction_id == duplicate_id
    assert claim_submits(runtime, account) == []


@pytest.mark.parametrize("first", ["released", "stored"])
def test_a_job_released_while_its_duplicate_is_stored_succeeds(
    runtime: Runtime, job_id: UUID, duplicate_id: UUID, first: str
) -> None:
    watch(runtime, duplicate_id)
    stored_claim, (own_id, own_claim) = claim_store(runtime), find_own(runtime)

    def release(session: Session) -> None:
        outcome, reason = PredictionState.FAILED, Reason("task_failed", "some words")
        ended = {"state": outcome, "reason": reason, "resubmit_after": timedelta(0)}
        assert transitions.renders.end_prediction(session, own_id, own_claim, **ended)

    def store(session: Session) -> None:
        assert transitions.steps.finish_store(session, duplicate_id, stored_claim, artifacts=[VIDEO])

    earlier, later = (release, store) if first == "released" else (store, release)
    with ThreadPoolExecutor(1) as pool, transaction(runtime.sessions) as session:
        earlier(session)
        other = pool.submit(in_transaction, runtime, later)
        wait_for_a_waiter(runtime)
        session.commit()
        other.result(timeout=PATIENCE_SECONDS)
    assert get_job(runtime.sessions, job_id).job.state == "succeeded"


def in_transaction(runtime: Runtime, write: Callable[[Session], None]) -> None:
    with transaction(runtime.sessions) as session:
        write(session)


def wait_for_a_waiter(runtime: Runtime) -> None:
    """Wait until a transaction waits for another one's lock."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    wait_until(lambda: ask(runtime, waiting) != [], "a transaction that waits", seconds=PATIENCE_SECONDS)


def test_a_job_that_cannot_store_its_video_succeeds_with_its_duplicate(
    runtime: Runtime, job_id: UUID, duplicate_id: UUID
) -> None:
    watch(runtime, duplicate_id)
    assert keep(runtime, duplicate_id).startswith("stored")
    prediction_id, claim = find_own(runtime)
    with transaction(runtime.sessions) as session:
        assert transitions.renders.complete_prediction(session, prediction_id, claim, outputs=["http://x/y.mp4"])
        assert transitions.steps.fail_store(session, prediction_id, claim, reason=Reason("output_gone", "some words"))
    view = get_job(runtime.sessions, job_id)
    file = view.find_file(ArtifactKind.VIDEO)
    assert file is not None
    assert (view.job.state, file.prediction_id, view.spent) == ("succeeded", duplicate_id, 2 * PRICE)


def test_a_cancelled_job_leaves_the_file_to_its_duplicate_purchase(
    runtime: Runtime, job_id: UUID, duplicate_id: UUID
) -> None:
    watch(runtime, duplicate_id)
    assert keep(runtime, duplicate_id).startswith("stored")
    change(runtime, "job", job_id, cancel_requested_at=NOW)
    end_own(runtime, resubmit_after=timedelta(0))
    view = get_job(runtime.sessions, job_id)
    assert (view.job.state, view.find_file(ArtifactKind.VIDEO)) == ("cancelled", None)
    assert get_duplicate_file(runtime.sessions, duplicate_id, ArtifactKind.VIDEO)


def test_a_duplicate_purchase_that_kills_its_worker_is_quarantined(runtime: Runtime, duplicate_id: UUID) -> None:
    watch(runtime, duplicate_id)
    for _ in range(MAX_STORE_CRASHES):
        claim = claim_store(runtime)
        with transaction(runtime.sessions) as session:
            assert transitions.steps.begin_store(session, duplicate_id, claim, lease=LEASE)
        change(runtime, "prediction", Prediction.is_duplicate, due_at=NOW)
    with transaction(runtime.sessions) as session:
        (crashed,) = transitions.claims.take_back_stores(session, count=5)
        assert crashed.quarantined
        assert transitions.claims.claim_stores(session, count=5, lease=LEASE) == []
        assert names(audit.audit_rows(session)) == {"bought_once", "no_duplicate", "duplicate_goes_on"}
    duplicate = read(runtime, duplicate_id)
    assert duplicate["error_code"] == "store_killed_worker"
    assert get_job(runtime.sessions, duplicate["job_id"]).job.state == "rendering"


def test_an_expired_address_of_a_duplicate_purchase_is_asked_for_afresh(
    runtime: Runtime, simulator: Simulator, duplicate_id: UUID
) -> None:
    watch(runtime, duplicate_id)
    there = read(runtime, duplicate_id)["outputs"]
    change(runtime, "prediction", outputs=[f"{simulator.url}/output/gone.mp4"])
    with pytest.raises(StoreDelayed, match="status 404"):
        keep(runtime, duplicate_id)
    assert read(runtime, duplicate_id)["outputs"] == there
    assert keep(runtime, duplicate_id).startswith("stored")


def test_a_good_answer_clears_the_inconsistency_of_a_duplicate_purchase(
    runtime: Runtime, duplicate_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(status: PredictionStatus | None) -> str:
        def answer(provider_id: str) -> ProviderPrediction:
            if status is None:
                raise PredictionNotFound("not found")
            return ProviderPrediction(id=provider_id, status=status)

        monkeypatch.setattr(runtime.client, "get_prediction", answer)
        return check_render(runtime, duplicate_id, claim)

    claim = read(runtime, duplicate_id)["claim"]
    assert check(None).startswith("inconsistent")
    change(runtime, "prediction", inconsistent_since=Prediction.inconsistent_since - DAY)
    check(PredictionStatus.PROCESSING)
    assert read(runtime, duplicate_id)["inconsistent_since"] is None
    assert check(PredictionStatus.COMPLETED).startswith("inconsistent")  # no output: believed only once it has lasted
    assert read(runtime, duplicate_id)["ended_at"] is None


def test_a_duplicate_purchase_is_not_lost_for_a_list_that_decides_nothing(
    runtime: Runtime, duplicate_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_nothing(_: str) -> ProviderPrediction:
        raise PredictionNotFound("not found")

    monkeypatch.setattr(runtime.client, "get_prediction", find_nothing)
    unreadable = PredictionPage(items=(), unreadable=1, is_last=True)
    monkeypatch.setattr(runtime.client, "list_predictions", lambda **_: unreadable)
    claim = read(runtime, duplicate_id)["claim"]
    check_render(runtime, duplicate_id, claim)
    change(runtime, "prediction", inconsistent_since=Prediction.inconsistent_since - DAY)
    assert "no readable id" in check_render(runtime, duplicate_id, claim)
    assert read(runtime, duplicate_id)["ended_at"] is None


def test_a_duplicate_purchase_without_an_outcome_ends_with_the_retention(runtime: Runtime, duplicate_id: UUID) -> None:
    job_id = read(runtime, duplicate_id)["job_id"]
    change(runtime, "prediction", duplicate_id, accepted_at=-8 * DAY)
    with transaction(runtime.sessions) as session:
        assert transitions.retention.end_retained(session, count=5) == 1
    assert read(runtime, duplicate_id)["state"] == "lost"
    assert get_job(runtime.sessions, job_id).job.state == "rendering"
