"""After a restore of the database nothing is submitted before what it has forgotten was searched for and adopted."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from celery import Celery

from models import DEFAULT_TENANT, Account, Job, Prediction, UnknownPrediction, queries, transitions
from models.db.session import transaction
from models.queries.audit import RULES, find_broken
from rushes import accounts
from rushes.access.callers import act_locally
from rushes.account_status import Condition
from rushes.catalog import REFERENCE
from rushes.errors import Conflict
from rushes.jobs.pushing import JobOrder, push_job
from rushes.jobs.uploads import keep_upload
from rushes.jobs.views import get_job
from rushes.reconciling.epoch_file import hold_after_restore, keep_epoch, read_epoch
from rushes.reconciling.evidence import ReconcileFailed
from rushes.runtime import ACCOUNT, Runtime
from rushes.submitting.submit import SubmitUnconfirmed, submit_prediction
from sandbox.servers import EmbeddedPostgres
from sandbox.wavespeed.handle import Simulator
from tests.support.rows import HOUR, MINUTE, NOW, SECOND
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
from tests.support.servers import cloned_database
from tests.support.videos import picture
from workers.dispatcher import claims
from workers.dispatcher.publisher import Publisher


class World:
    """A farm whose database can be restored to what it was when `back_up` was called."""

    def __init__(self, postgres: EmbeddedPostgres, url: str, simulator: Simulator, folder: Path) -> None:
        self.simulator = simulator
        self._postgres = postgres
        self._folder = folder
        self._stack = ExitStack()
        self._backup = ""
        self.runtime = self._open(url)
        with transaction(self.runtime.sessions) as session:
            self.account = transitions.accounts.ensure_account(session, ACCOUNT, slots=20, submits_per_minute=60)

    def _open(self, url: str, **changes: object) -> Runtime:
        return open_runtime(url, self.simulator, self._folder, **changes)

    def back_up(self) -> None:
        """Keep a copy of the database as it is now."""
        url = self.runtime.settings.get_database_url()
        self.runtime.close()
        name = urlsplit(url).path.lstrip("/")
        self._backup = self._stack.enter_context(cloned_database(self._postgres, template=name))
        self.runtime = self._open(url)

    def restore(self, **changes: object) -> None:
        """Go on with the copy."""
        self.runtime.close()
        self.runtime = self._open(self._backup, **changes)

    def close(self) -> None:
        self.runtime.close()
        self._stack.close()

    def push(self, *prompts: str) -> list[UUID]:
        return push(self.runtime, *map(wish, prompts))

    def submit(self, count: int) -> int:
        """What the dispatcher and its workers do: admit, claim, keep the epoch, post. Returns how many."""
        with transaction(self.runtime.sessions) as session:
            room = transitions.admission.count_free_slots(session, self.account)
            assert room is not None
            transitions.admission.admit_jobs(session, self.account, count=room.count_admissible(count))
            claimed = transitions.admission.claim_submits(
                session, self.account, count=min(count, room.submits), lease=LEASE
            )
            epoch = transitions.admission.advance_epoch(session, self.account) if claimed else 0
        keep_epoch(self.runtime.settings.data_dir, self.account, epoch)
        for each in claimed:
            submit_prediction(self.runtime, each.prediction_id, each.claim)
        return len(claimed)

    def hold(self) -> bool:
        with transaction(self.runtime.sessions) as session:
            account = queries.dispatching.find_account(session, ACCOUNT)
        assert account is not None
        return hold_after_restore(self.runtime, account)

    def sweep(self, *, settled: bool) -> str:
        """One run; `settled` says that the settle time has passed."""
        if settled:
            change(self.runtime, "account", paused_at=Account.paused_at - 10 * MINUTE)
        change(self.runtime, "account", reconcile_until=None)
        change(self.runtime, "prediction", Prediction.state == "unconfirmed", due_at=NOW)
        return reconcile(self.runtime, self.account)

    def submit_without_answer(self) -> None:
        with pytest.raises(SubmitUnconfirmed):
            self.submit(1)

    def decide_unconfirmed(self) -> str:
        """What passes make of every unconfirmed submission when nothing was restored."""
        return self.sweep(settled=False)

    def see_ends(self) -> None:
        """Poll every render once it is over; what is to be bought again is due at once."""
        wait_until_over(self.simulator)
        for prediction_id, claim in self.ask("SELECT id, claim FROM prediction WHERE state = 'rendering'"):
            check_render(self.runtime, UUID(str(prediction_id)), int(str(claim)))
        change(self.runtime, "job", Job.state == "queued", due_at=NOW)

    def ask(self, query: str) -> list[tuple[object, ...]]:
        return ask(self.runtime, query)

    def bought(self) -> Counter[str]:
        return Counter(task["input"]["prompt"] for task in self.simulator.tasks())


@pytest.fixture
def world(postgres: EmbeddedPostgres, database_url: str, tmp_path: Path) -> Iterator[World]:
    with Simulator(median=0.2, sigma=0.01) as simulator:
        opened = World(postgres, database_url, simulator, tmp_path)
        yield opened
        opened.close()


def test_a_purchase_that_a_restore_forgot_is_adopted_and_not_repeated(world: World) -> None:
    world.push("a", "a", "b", "c")
    world.back_up()
    assert world.submit(3) == 3
    world.restore()

    assert world.hold()
    assert not world.hold()  # one restore pauses once
    assert world.submit(20) == 0
    ((job_id,),) = world.ask("SELECT id FROM job WHERE input->>'prompt' = 'c'")
    wait = get_job(world.runtime.sessions, UUID(str(job_id)), explained=True).wait
    assert wait is not None
    assert wait.message.startswith("the account is paused (restore: its epoch is 0, the data folder has seen 1")

    assert world.sweep(settled=False).endswith("restored: waits for the settle time")
    assert world.ask("SELECT count(*) FROM prediction") == [(0,)]
    assert world.sweep(settled=True).endswith("restored: adopted 3, submits again")
    assert world.submit(20) == 1
    assert world.bought() == {"a": 2, "b": 1, "c": 1}
    assert world.ask("SELECT count(*) FROM unknown_prediction") == [(0,)]
    assert world.ask("SELECT count(DISTINCT provider_id) FROM prediction") == [(4,)]
    with transaction(world.runtime.sessions) as session:
        assert {rule.name for rule in RULES if find_broken(session, rule).total} == set()


def test_a_submission_posted_after_the_backup_is_adopted(world: World) -> None:
    world.push("a")
    with transaction(world.runtime.sessions) as session:
        transitions.admission.admit_jobs(session, world.account, count=1)
    world.back_up()
    assert world.submit(1) == 1
    wait_until_over(world.simulator)
    world.restore()
    assert world.hold()
    assert "adopted 1" in world.sweep(settled=True)
    assert world.ask("SELECT state FROM job") == [("storing",)]
    assert world.ask("SELECT state, attempt FROM prediction") == [("completed", 1)]


def test_a_purchase_whose_file_address_is_lost_waits_for_a_person(world: World) -> None:
    kept = keep_upload(world.runtime.sessions, picture(), tenant_id=DEFAULT_TENANT)
    values = {"prompt": "the fox turns", "image": REFERENCE + kept.sha256}
    push_job(world.runtime.sessions, JobOrder(model="ltx-2-fast-i2v", input=values), tenant_id=DEFAULT_TENANT)
    world.back_up()
    assert world.submit(1) == world.submit(1) == 1  # the file, then the job
    (bought,) = world.simulator.tasks()
    world.restore()
    assert world.hold()
    assert str(bought["id"]) in world.sweep(settled=True)
    assert world.submit(20) == 0
    assert world.bought() == {"the fox turns": 1}


def test_only_an_unknown_prediction_that_may_be_ours_waits_for_a_person(world: World) -> None:
    world.push("a")
    assert world.submit(1) == 1
    world.back_up()
    input_of_ours = wish()
    twin = world.runtime.client.submit(MODEL, input_of_ours, send_before=time.monotonic() + 60)
    world.runtime.client.submit(MODEL, input_of_ours | {"prompt": "x"}, send_before=time.monotonic() + 60)
    world.restore(restore_epoch=1)  # as on many machines: a person said so
    assert world.hold()

    assert twin.id in world.sweep(settled=True)
    assert world.submit(20) == 0
    paused = accounts.get_account(world.runtime.sessions)
    assert paused.status.condition is Condition.PAUSED
    assert twin.id in str(paused.status.detail)
    assert world.ask("SELECT count(*) FROM unknown_prediction") == [(2,)]
    assert accounts.resume_account(world.runtime.sessions, caller=act_locally("mara")).status.is_ok
    assert not world.hold()
    world.push("b")
    assert world.submit(20) == 1


def test_a_second_hold_forgets_nothing_that_the_first_waits_for(world: World) -> None:
    world.push("a")
    assert world.submit(1) == 1
    change(world.runtime, "account", epoch_at=Account.epoch_at - HOUR)
    world.back_up()
    twin = world.runtime.client.submit(MODEL, wish(), send_before=time.monotonic() + 60)
    world.restore(restore_epoch=1)
    assert world.hold()
    assert twin.id in world.sweep(settled=True)
    change(world.runtime, "unknown_prediction", found_at=UnknownPrediction.found_at - 30 * MINUTE)

    world.restore(restore_epoch=2)  # the same rows: somebody has raised it once more
    assert world.hold()
    assert twin.id in world.sweep(settled=True)
    assert world.submit(20) == 0


@pytest.mark.parametrize("by_a_person", [True, False])
def test_a_run_that_was_overtaken_says_that_it_opened_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, by_a_person: bool
) -> None:
    world.back_up()
    world.restore(restore_epoch=1)
    assert world.hold()
    listing = queries.reconciling.filter_strangers

    def read_and_be_late(*asked: object, **more: object) -> set[str]:
        if by_a_person:
            accounts.resume_account(world.runtime.sessions, caller=act_locally("mara"))
        else:
            change(world.runtime, "account", paused_at=NOW)
        return listing(*asked, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(queries.reconciling, "filter_strangers", read_and_be_late)
    assert "restored: adopted 0, not opened by this run" in world.sweep(settled=True)
    assert accounts.get_account(world.runtime.sessions).status.is_ok == by_a_person


def test_an_unknown_prediction_from_before_the_backup_belongs_to_others(world: World) -> None:
    world.push("a")
    assert world.submit(1) == 1
    world.runtime.client.submit(MODEL, wish(), send_before=time.monotonic() + 60)
    assert world.sweep(settled=False).endswith("new unknown predictions 1")
    change(world.runtime, "unknown_prediction", found_at=UnknownPrediction.found_at - HOUR)
    world.back_up()
    world.restore(restore_epoch=1)
    assert world.hold()
    assert world.sweep(settled=True).endswith("restored: adopted 0, submits again")


def test_a_purchase_after_a_failed_unconfirmed_one_is_not_repeated(world: World) -> None:
    world.simulator.set_fault("task_failed", count=1)
    world.simulator.set_fault("submit_drop", count=1)
    world.push("a")
    world.submit_without_answer()
    world.back_up()
    assert world.decide_unconfirmed().startswith("adopted 1")
    world.see_ends()
    assert world.submit(1) == 1
    bought_after = str(world.simulator.tasks()[-1]["id"])
    world.restore()

    assert world.hold()
    reported = world.sweep(settled=True)
    assert reported.startswith("adopted 1")
    assert "waits for a person" in reported
    assert bought_after in reported
    world.see_ends()
    assert world.submit(20) == 0
    assert world.sweep(settled=True).endswith("restored: adopted 1, submits again")
    assert world.submit(20) == 0
    assert world.bought() == {"a": 2}


def test_a_purchase_after_one_marked_not_found_is_not_repeated(world: World) -> None:
    world.simulator.set_fault("submit_5xx", count=1)
    world.push("a")
    world.submit_without_answer()
    change(world.runtime, "prediction", posted_at=Prediction.posted_at - HOUR)
    world.back_up()
    assert world.decide_unconfirmed().startswith("adopted 0, not found 1")
    assert world.submit(1) == 1
    world.restore()

    assert world.hold()
    reported = world.sweep(settled=True)
    assert reported.startswith("adopted 0, not found 1")
    assert "waits for a person" in reported
    assert world.sweep(settled=True).endswith("restored: adopted 1, submits again")
    assert world.submit(20) == 0
    assert world.bought() == {"a": 1}


def test_a_run_before_the_settle_time_is_no_sweep(world: World) -> None:
    world.push("a")
    assert world.submit(1) == 1
    world.back_up()
    assert world.submit(1) == 0
    world.restore(restore_epoch=1)
    assert world.hold()
    swept = "SELECT swept_at FROM account"
    before = world.ask(swept)
    assert "waits for the settle time" in world.sweep(settled=False)
    assert world.ask(swept) == before
    assert "submits again" in world.sweep(settled=True)
    assert world.ask(swept) != before


@pytest.mark.parametrize("paused_before", [True, False])
def test_a_persons_pause_outlasts_a_restores(world: World, paused_before: bool) -> None:
    if paused_before:
        accounts.pause_account(world.runtime.sessions, caller=act_locally("mara"))
    since = accounts.get_account(world.runtime.sessions).status.since
    world.back_up()
    world.restore(restore_epoch=1)
    assert world.hold()
    assert str(accounts.get_account(world.runtime.sessions).status.detail).startswith("restore")
    if not paused_before:
        accounts.pause_account(world.runtime.sessions, caller=act_locally("mara"))
    with pytest.raises(Conflict, match="paused already"):
        accounts.pause_account(world.runtime.sessions, caller=act_locally("tom"))

    assert world.sweep(settled=True).endswith("restored: adopted 0, paused by a person")
    paused = accounts.get_account(world.runtime.sessions)
    assert paused.status.detail == "person: mara"
    assert paused_before == (paused.status.since == since)
    world.push("a")
    assert world.submit(20) == 0
    assert accounts.resume_account(world.runtime.sessions, caller=act_locally("tom")).status.is_ok
    assert world.submit(20) == 1


def test_a_persons_word_ends_a_restores_pause_and_what_lies_beneath(world: World) -> None:
    accounts.pause_account(world.runtime.sessions, caller=act_locally("mara"))
    world.back_up()
    world.restore(restore_epoch=1)
    assert world.hold()
    assert accounts.resume_account(world.runtime.sessions, caller=act_locally("tom")).status.is_ok
    change(world.runtime, "account", restore_epoch=0)  # a second restore
    assert world.hold()
    assert world.sweep(settled=True).endswith("submits again")


def test_a_list_that_fails_keeps_a_restored_account_shut(world: World) -> None:
    world.push("a")
    world.back_up()
    assert world.submit(1) == 1
    world.restore()
    assert world.hold()
    world.simulator.set_fault("get_5xx", kind="list")
    with pytest.raises(ReconcileFailed):
        world.sweep(settled=True)
    assert world.submit(20) == 0
    world.simulator.clear_faults()
    assert "adopted 1" in world.sweep(settled=True)


def test_a_database_that_was_not_restored_is_never_held(world: World) -> None:
    world.push("a", "b")
    assert not world.hold()
    assert world.submit(1) == 1
    assert not world.hold()
    assert read_epoch(world.runtime.settings.data_dir, world.account) == 1
    keep_epoch(world.runtime.settings.data_dir, world.account, 0)  # a frozen leader that wakes up
    assert read_epoch(world.runtime.settings.data_dir, world.account) == 1


def test_a_dispatcher_turn_that_claims_nothing_writes_no_epoch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[object] = []
    monkeypatch.setattr(claims, "keep_epoch", lambda *asked: kept.append(asked[-1]))
    publisher = Publisher(Celery())
    monkeypatch.setattr(publisher, "publish", lambda _: None)
    leader = claims.SubmitDispatch(world.runtime, publisher)
    with transaction(world.runtime.sessions) as session:
        account = queries.dispatching.find_account(session, ACCOUNT)
        transitions.leadership.see_worker(session, "test", queues=["submit"], threads=1)
    assert account is not None
    leader.submit(account, room=5, threads=1)
    assert kept == []
    world.push("a")
    leader.submit(account, room=5, threads=1)
    assert kept == [1]


def test_a_message_from_before_the_pause_posts_nothing(world: World) -> None:
    world.push("a")
    (claimed,) = claim_submits(world.runtime, world.account)
    accounts.pause_account(world.runtime.sessions, caller=act_locally("mara"))
    assert submit_prediction(world.runtime, claimed.prediction_id, claimed.claim).startswith("handed back")
    assert world.bought() == {}


def test_an_adoption_that_somebody_else_made_first_costs_the_run_no_lease(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.push("a", "a")
    world.simulator.set_fault("submit_drop", count=1)
    with pytest.raises(SubmitUnconfirmed):
        world.submit(1)
    assert world.submit(1) == 1
    change(world.runtime, "prediction", due_at=NOW, posted_at=Prediction.posted_at - 2 * SECOND)
    filter_known, pages = queries.reconciling.filter_known, [1]

    def read_before_somebody_adopts(*asked: object, **more: object) -> set[str]:
        known = filter_known(*asked, **more)  # type: ignore[arg-type]
        if pages:
            pages.pop()
            return known  # of the one page; what follows is the last check of the rows
        other = next(each["id"] for each in world.simulator.tasks() if each["id"] not in known)
        change(world.runtime, "prediction", Prediction.state == "rendering", provider_id=other)
        return known

    monkeypatch.setattr(queries.reconciling, "filter_known", read_before_somebody_adopts)
    with pytest.raises(ReconcileFailed, match="somebody else has decided"):
        world.sweep(settled=False)
    assert world.ask("SELECT reconcile_until <= clock_timestamp() FROM account") == [(True,)]
