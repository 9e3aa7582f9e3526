"""An unknown prediction whose webhook leads back to a job of ours is owned, whatever its input: paid for once, or a
duplicate purchase."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import ColumnElement, delete

from models import Account, Base, Event, Job, Prediction, PredictionState, queries, transitions
from models.db.session import transaction
from models.lifecycle import Reason
from models.queries.audit import RULES, find_broken
from models.queries.reconciling import JobSnapshot
from rushes.access.callers import act_locally
from rushes.jobs.retry import retry_job
from rushes.reconciling import reconcile as reconciling
from rushes.reconciling.assign import Assignments, assign_answered, assign_purchases
from rushes.runtime import ACCOUNT
from rushes.storing.store import store_output
from rushes.submitting.submit import SubmitUnconfirmed, submit_prediction
from rushes.wavespeed.callback_urls import HookAddresses, Origin, read_address
from rushes.wavespeed.predictions import PredictionStatus, ProviderPrediction
from sandbox.wavespeed.handle import Simulator
from tests.support.locks import wait_for_a_blocked_statement
from tests.support.rows import MINUTE, NOW, SECOND
from tests.support.runtimes import (
    LEASE,
    MODEL,
    ask,
    change,
    check_render,
    claim_submits,
    open_runtime,
    push,
    reconcile,
    wait_until_over,
    wish,
)

PUBLIC_URL = "http://127.0.0.1:9/farm"  # nobody listens: webhooks are lost


class World:
    """A farm whose provider shows the addresses of webhooks, and whose rows can be forgotten."""

    def __init__(self, url: str, simulator: Simulator, folder: Path) -> None:
        self.simulator = simulator
        self.runtime = open_runtime(url, simulator, folder, public_url=PUBLIC_URL)
        with transaction(self.runtime.sessions) as session:
            self.account = transitions.accounts.ensure_account(session, ACCOUNT, slots=20, submits_per_minute=600)

    def push(self, prompt: str = "a") -> UUID:
        return push(self.runtime, wish(prompt))[0]

    def admit(self) -> None:
        with transaction(self.runtime.sessions) as session:
            transitions.admission.admit_jobs(session, self.account, count=20)

    def submit(self) -> int:
        """Everything that waits, whatever the answers; returns how many were posted."""
        claimed = claim_submits(self.runtime, self.account, count=20)
        for each in claimed:
            with suppress(SubmitUnconfirmed):
                submit_prediction(self.runtime, each.prediction_id, each.claim)
        return len(claimed)

    def finish(self) -> None:
        """Let the provider end everything."""
        wait_until_over(self.simulator)

    def store_duplicate(self) -> str:
        """Check the only duplicate purchase and store its video."""
        ((duplicate_id, claim),) = self.ask("SELECT id, claim FROM prediction WHERE is_duplicate")
        assert check_render(self.runtime, duplicate_id, claim).startswith("completed")
        with transaction(self.runtime.sessions) as session:
            (step,) = transitions.claims.claim_stores(session, count=5, lease=LEASE)
        return store_output(self.runtime, duplicate_id, step.claim, must_stop=lambda: False)

    def forget(self, job_id: UUID) -> None:
        """The job as an older backup has it: queued, nothing bought."""
        self.delete(Event, Event.job_id == job_id)
        self.delete(Prediction, Prediction.job_id == job_id)
        change(self.runtime, "job", job_id, state="queued", due_at=NOW, ended_at=None)

    def unbuy(self, job_id: UUID, state: str) -> None:
        """As if nothing had been bought for the job: its prediction ended in this state."""
        ended = {"state": state, "provider_id": None, "accepted_at": None, "ended_at": NOW, "due_at": None}
        change(self.runtime, "prediction", Prediction.job_id == job_id, **ended)

    def sweep(self) -> str:
        change(self.runtime, "account", reconcile_until=None, swept_at=None)
        change(self.runtime, "prediction", Prediction.state == "unconfirmed", due_at=NOW)
        return reconcile(self.runtime, self.account)

    def delete(self, table: type[Base], which: ColumnElement[bool]) -> None:
        with transaction(self.runtime.sessions) as session:
            session.execute(delete(table).where(which))

    def ask(self, query: str, **values: object) -> list[Any]:
        return ask(self.runtime, query, **values)

    def hold(self) -> None:
        """As a restored database is."""
        with transaction(self.runtime.sessions) as session:
            assert transitions.pauses.hold_restored(session, self.account, epoch=99, restore_epoch=0, detail="test")

    def find_broken(self) -> set[str]:
        with transaction(self.runtime.sessions) as session:
            return {rule.name for rule in RULES if find_broken(session, rule).total}

    def rows_of(self, job_id: UUID) -> list[tuple[str, str]]:
        """State and provider id of each of its predictions, in their order; `duplicate` for any duplicate purchase."""
        query = """
            SELECT CASE WHEN is_duplicate THEN 'duplicate' ELSE state END, provider_id
            FROM prediction WHERE job_id = :id ORDER BY attempt
        """
        return self.ask(query, id=job_id)

    def state_of(self, job_id: UUID) -> str:
        ((state,),) = self.ask("SELECT state FROM job WHERE id = :id", id=job_id)
        return str(state)

    def names_in(self, task: dict[str, Any]) -> tuple[UUID, UUID]:
        """The prediction and the job that this task of the provider was bought for."""
        found = read_address(str(task["webhook"]), secret=self.runtime.hook_secret)
        assert found is not None
        return found


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(median=0.2, sigma=0.01, webhook_retries=0) as started:
        started.set_fault("show_webhook")
        yield started


@pytest.fixture
def world(database_url: str, simulator: Simulator, tmp_path: Path) -> Iterator[World]:
    """With one render in addition to those of the tests, since only accounts that bought something are swept."""
    opened = World(database_url, simulator, tmp_path)
    opened.push("an anchor")
    assert opened.submit() == 1
    yield opened
    opened.runtime.close()


@pytest.fixture
def bought(world: World) -> tuple[UUID, str]:
    """A job whose render was bought and is over, and that render's id at the provider."""
    job_id = world.push()
    assert world.submit() == 1
    world.finish()
    return job_id, str(world.simulator.tasks()[-1]["id"])


@pytest.mark.parametrize("key", ["webhook", "webhook_url"])
@pytest.mark.parametrize("readable", [True, False])
def test_each_of_two_equal_unconfirmed_submissions_gets_its_own_prediction(
    world: World, simulator: Simulator, key: str, readable: bool
) -> None:
    simulator.set_fault("show_webhook", text=key)
    simulator.set_fault("submit_drop")
    if not readable:
        simulator.set_fault("list_without_inputs")
    jobs = [world.push(), world.push()]
    assert world.submit() == 2
    # By input and time each would now get the other's.
    change(world.runtime, "prediction", Prediction.job_id == jobs[1], posted_at=Prediction.posted_at - SECOND)
    assert world.sweep().endswith("; by their webhooks: adopted 2, duplicates 0")
    for task in simulator.tasks()[1:]:
        _, job_id = world.names_in(task)
        ((state, provider_id),) = world.rows_of(job_id)
        assert (state in {"rendering", "completed"}, provider_id) == (True, task["id"])
    assert world.find_broken() == set()


def test_an_unconfirmed_submission_does_not_wait_for_a_twin_in_flight(world: World, simulator: Simulator) -> None:
    simulator.set_fault("submit_drop", count=1)
    world.push()
    assert world.submit() == 1
    world.push()
    world.admit()
    change(world.runtime, "prediction", Prediction.state == "submitting", posted_at=NOW)  # its answer may still come
    assert world.sweep().startswith("adopted 0, not found 0, waiting 0")
    known = world.ask("SELECT state = 'submitting', provider_id IS NOT NULL FROM prediction ORDER BY id")
    assert known[1:] == [(False, True), (True, False)]


@pytest.mark.parametrize("restored", [False, True])
def test_a_lost_row_is_made_again_for_a_job_that_would_be_bought(
    world: World, bought: tuple[UUID, str], restored: bool
) -> None:
    job_id, provider_id = bought
    world.forget(job_id)
    if restored:
        world.hold()
    assert "by their webhooks: adopted 1, duplicates 0" in world.sweep()
    assert world.rows_of(job_id) == [("completed", provider_id)]
    assert world.state_of(job_id) == "storing"
    made, _ = world.names_in(world.simulator.tasks()[-1])
    assert world.ask("SELECT id FROM prediction WHERE provider_id = :id", id=provider_id) == [(made,)]
    assert world.submit() == 0  # paid for once
    assert world.ask("SELECT count(*) FROM unknown_prediction") == [(0,)]
    assert world.find_broken() == set()


def test_a_submission_that_was_not_posted_yet_becomes_the_purchase(world: World, bought: tuple[UUID, str]) -> None:
    job_id, provider_id = bought
    world.forget(job_id)
    world.admit()
    assert world.rows_of(job_id) == [("submitting", None)]
    assert "adopted 1, duplicates 0" in world.sweep()
    assert world.rows_of(job_id) == [("completed", provider_id)]
    assert world.submit() == 0
    assert world.find_broken() == set()


def test_a_job_that_was_marked_not_found_and_waits_is_not_bought_anew(world: World, bought: tuple[UUID, str]) -> None:
    job_id, provider_id = bought
    world.unbuy(job_id, "not_found")
    change(world.runtime, "job", job_id, state="queued", due_at=NOW)
    assert "adopted 1, duplicates 0" in world.sweep()
    assert world.rows_of(job_id) == [("not_found", None), ("completed", provider_id)]
    assert world.submit() == 0
    assert world.find_broken() == set()


def test_a_late_video_of_a_replaced_input_does_not_become_the_jobs(world: World, bought: tuple[UUID, str]) -> None:
    job_id, provider_id = bought
    world.unbuy(job_id, "not_found")
    change(world.runtime, "job", job_id, state="failed", error_code="x", due_at=None, ended_at=NOW)
    assert retry_job(world.runtime.sessions, job_id, {"prompt": "another"}, caller=act_locally("mara")) == "queued"
    assert "adopted 0, duplicates 1" in world.sweep()
    assert world.rows_of(job_id) == [("duplicate", provider_id)]
    assert world.store_duplicate().startswith("stored")
    assert world.state_of(job_id) == "queued"
    assert world.submit() == 1
    assert "rendering" in dict(world.rows_of(job_id))


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_a_purchase_that_an_ended_job_does_not_need_is_a_duplicate(
    world: World, bought: tuple[UUID, str], state: str
) -> None:
    job_id, provider_id = bought
    world.forget(job_id)
    code = "broken" if state == "failed" else None
    change(world.runtime, "job", job_id, state=state, due_at=None, ended_at=NOW, error_code=code)
    assert "adopted 0, duplicates 1" in world.sweep()
    assert world.rows_of(job_id) == [("duplicate", provider_id)]
    assert world.store_duplicate().startswith("stored")
    assert world.state_of(job_id) == state
    assert world.ask("SELECT count(*) FROM unknown_prediction") == [(0,)]
    assert "adopted" not in world.sweep().partition("; by")[2]  # a row knows it now


def test_a_second_live_purchase_is_a_duplicate(world: World, bought: tuple[UUID, str]) -> None:
    job_id, provider_id = bought
    world.forget(job_id)
    world.simulator.set_fault("task_slow")
    assert world.submit() == 1
    assert "adopted 0, duplicates 1" in world.sweep()
    (live, _), duplicate = world.rows_of(job_id)
    assert (live, duplicate) == ("rendering", ("duplicate", provider_id))
    assert world.find_broken() == {"bought_once", "no_duplicate"}


def test_a_refused_submission_that_was_bought_is_a_duplicate_in_its_row(world: World, bought: tuple[UUID, str]) -> None:
    job_id, provider_id = bought
    world.unbuy(job_id, "refused")
    change(world.runtime, "job", job_id, state="failed", error_code="input_refused", ended_at=NOW)
    assert "adopted 0, duplicates 1" in world.sweep()
    assert world.rows_of(job_id) == [("duplicate", provider_id)]


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let this happen between the first reading of the rows and what follows from it."""
    find = queries.reconciling.find_job_snapshot

    def read_and_be_late(*asked: Any) -> Any:
        snapshot = find(*asked)
        monkeypatch.setattr(queries.reconciling, "find_job_snapshot", find)
        act()
        return snapshot

    monkeypatch.setattr(queries.reconciling, "find_job_snapshot", read_and_be_late)


def test_a_job_that_is_admitted_at_this_instant_gets_its_purchase(
    world: World, bought: tuple[UUID, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, provider_id = bought
    world.forget(job_id)
    meanwhile(monkeypatch, world.admit)
    assert "adopted 1, duplicates 0" in world.sweep()
    assert world.rows_of(job_id) == [("completed", provider_id)]
    assert world.submit() == 0
    assert world.find_broken() == set()


def test_a_prediction_that_another_run_adopts_is_not_duplicate_or_unknown(
    world: World, bought: tuple[UUID, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, provider_id = bought
    world.forget(job_id)

    def assign_twice(*asked: Any) -> Assignments:
        meanwhile(monkeypatch, lambda: assign_purchases(*asked))
        return assign_purchases(*asked)

    monkeypatch.setattr(reconciling, "assign_purchases", assign_twice)
    assert "new unknown predictions 0" in world.sweep()
    assert world.rows_of(job_id) == [("completed", provider_id)]
    assert world.ask("SELECT count(*) FROM unknown_prediction") == [(0,)]
    assert world.find_broken() == set()


def test_a_submission_answered_with_another_id_does_not_take_this_video(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.simulator.set_fault("submit_drop", count=1)
    job_id = world.push()
    assert world.submit() == 1
    world.finish()
    answer = {"state": "rendering", "provider_id": "another", "accepted_at": NOW, "error_code": None}
    meanwhile(monkeypatch, lambda: change(world.runtime, "prediction", Prediction.job_id == job_id, **answer))
    assert world.sweep().endswith("; by their webhooks: adopted 0, duplicates 1")
    assert world.rows_of(job_id) == [("rendering", "another"), ("duplicate", world.simulator.tasks()[-1]["id"])]


def give_up(world: World) -> tuple[UUID, UUID, ProviderPrediction]:
    """A job whose submission was bought, lost its answer and was marked not found."""
    world.simulator.set_fault("submit_drop", count=1)
    job_id = world.push()
    assert world.submit() == 1
    world.finish()
    ((prediction_id,),) = world.ask("SELECT id FROM prediction WHERE job_id = :id", id=job_id)
    with transaction(world.runtime.sessions) as session:
        assert transitions.runs.mark_not_found(session, prediction_id, why="not listed")
    return job_id, prediction_id, world.runtime.client.get_prediction(str(world.simulator.tasks()[-1]["id"]))


def test_a_job_that_is_queued_again_at_this_instant_gets_its_late_purchase(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, given_up, found = give_up(world)
    assert world.submit() == 1
    live = "SELECT id, claim FROM prediction WHERE state = 'rendering' AND job_id = :id"
    ((second, claim),) = world.ask(live, id=job_id)

    def fail_second() -> None:
        with transaction(world.runtime.sessions) as session:
            assert transitions.renders.end_prediction(
                session, second, claim, state=PredictionState.FAILED, reason=Reason("a", "b"), resubmit_after=LEASE
            )

    meanwhile(monkeypatch, fail_second)
    with transaction(world.runtime.sessions) as session:
        assign_answered(session, world.runtime, world.account, origin=Origin(given_up, job_id), found=found)
    assert [state for state, _ in world.rows_of(job_id)] == ["not_found", "failed", "rendering"]
    assert world.submit() == 0


def test_a_webhook_during_the_run_that_gives_its_job_up_finds_the_job(world: World) -> None:
    world.simulator.set_fault("submit_drop", count=1)
    job_id = world.push()
    assert world.submit() == 1
    world.finish()
    ((prediction_id,),) = world.ask("SELECT id FROM prediction WHERE job_id = :id", id=job_id)
    found = world.runtime.client.get_prediction(str(world.simulator.tasks()[-1]["id"]))
    origin = Origin(prediction_id, job_id)

    def assign() -> None:
        with transaction(world.runtime.sessions) as session:
            assign_answered(session, world.runtime, world.account, origin=origin, found=found)

    with ThreadPoolExecutor(1) as pool:
        with transaction(world.runtime.sessions) as session:
            assert transitions.runs.mark_not_found(session, prediction_id, why="not listed")
            assigned = pool.submit(assign)
            wait_for_a_blocked_statement(world.runtime.sessions)
        assigned.result(timeout=60)
    assert [state for state, _ in world.rows_of(job_id)] == ["not_found", "rendering"]
    assert world.submit() == 0


def test_no_duplicate_purchase_is_recorded_for_a_job_that_would_be_bought(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the rows always change just after they were read: as if the job needed nothing."""
    job_id = world.push("b")
    needs_nothing = JobSnapshot(False, False, False, False, is_wanted=False, unposted_id=None)
    monkeypatch.setattr(queries.reconciling, "find_job_snapshot", lambda *_: needs_nothing)
    found, outcomes = ProviderPrediction("p", PredictionStatus.PROCESSING), []
    for prepare in (lambda: None, world.admit, world.submit):
        prepare()
        with transaction(world.runtime.sessions) as session:
            origin = Origin(uuid4(), job_id)
            assigned = assign_answered(session, world.runtime, world.account, origin=origin, found=found)
        outcomes.append(assigned is not None and assigned.prediction_id)
    assert [bool(each) for each in outcomes] == [False, False, True]
    assert world.ask("SELECT id, is_duplicate FROM prediction WHERE provider_id = 'p'") == [(outcomes[-1], True)]


def test_a_failed_prediction_takes_no_job_from_a_paid_one(world: World) -> None:
    world.simulator.set_fault("task_failed", count=1)
    job_id = world.push()
    assert world.submit() == 1
    world.finish()
    world.forget(job_id)
    assert world.submit() == 1
    world.finish()
    failed, paid = (str(each["id"]) for each in world.simulator.tasks()[1:])
    world.forget(job_id)
    assert "adopted 1, duplicates 1" in world.sweep()
    assert world.rows_of(job_id) == [("completed", paid), ("duplicate", failed)]


@pytest.mark.parametrize("restored", [False, True])
def test_the_render_of_a_job_that_is_gone_is_an_unknown_prediction(
    world: World, bought: tuple[UUID, str], restored: bool
) -> None:
    job_id, provider_id = bought
    world.forget(job_id)
    world.delete(Job, Job.id == job_id)
    twin = world.push()
    if restored:
        world.hold()
        change(world.runtime, "account", paused_at=Account.paused_at - 10 * MINUTE)
    assert "new unknown predictions 1; by their webhooks: adopted 0, duplicates 0" in world.sweep()
    assert world.ask("SELECT provider_id FROM unknown_prediction") == [(provider_id,)]
    assert world.rows_of(twin) == []
    assert world.submit() == 1


def test_an_address_that_we_did_not_sign_says_nothing(world: World) -> None:
    forged = HookAddresses(PUBLIC_URL, b"another secret")
    job_id = world.push()
    stranger = world.runtime.client.submit(
        MODEL, wish(), send_before=time.monotonic() + 60, webhook=forged.make(uuid4(), job_id)
    )
    assert world.sweep().endswith("new unknown predictions 1")
    assert world.ask("SELECT provider_id FROM unknown_prediction") == [(stranger.id,)]
    assert world.rows_of(job_id) == []
