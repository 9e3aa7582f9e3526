"""A model of the heart: the real steps on real Postgres, a provider that lies, crashes around any commit of theirs.

Hypothesis tries orders of events that nobody thought of: answers that are lost, late or refused, workers that die
before and after a POST and each of their commits, messages that come twice or stale, a provider that accepts late or
shows what it has only after the settle time, outcomes by polls, pages of the list and webhooks, late, doubled and
forged ones, cancellations. Time passes by moving every stored time into the past. After each event the promises are
held; at the end all faults stop, and everything must end.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from models import DEFAULT_TENANT, ArtifactKind, Base, JobState, Prediction, queries, transitions
from models.db.session import Sessions, transaction
from models.lifecycle import JOB_ENDED, SLOT_WINDOWS
from models.transitions.jobs import NewJob
from models.transitions.storing.steps import NewArtifact
from models.transitions.submitting import SubmitTicket
from rushes import webhooks
from rushes.errors import RushesError
from rushes.forecasting.forecaster import Forecaster
from rushes.reconciling.reconcile import reconcile_account
from rushes.render_times.learned import Sightings
from rushes.runtime import ACCOUNT
from rushes.settings import Settings
from rushes.submitting import submit as submitting
from rushes.submitting.submit import submit_prediction
from rushes.watching.sweep import sweep_account
from rushes.wavespeed.answers import SignatureRefused
from rushes.wavespeed.callback_urls import HookAddresses
from rushes.wavespeed.predictions import PredictionStatus, ProviderPrediction
from rushes.webhooks import take_webhook
from tests.support import rows
from tests.support.lying_provider import WEBHOOK_SECRET, Died, LyingProvider, Task
from tests.support.mortal_sessions import MortalSessions
from tests.support.rows import NOW, SHA256, VIDEO_MODEL
from tests.support.runtimes import check_render
from tests.support.servers import EMPTY

LEASE = timedelta(seconds=30)
HOUR = rows.HOUR  # longer than every lease, window and settle time
PROMPTS = ("a fox", "a wolf")  # few, so that identical jobs are common
VIDEO = NewArtifact(ArtifactKind.VIDEO, "file:///a.mp4", 7, SHA256)
UNKNOWN = ("lost", "never", "die before", "die after", "freeze")
ANSWERS = (*UNKNOWN, *UNKNOWN, "accept", "accept", "not sent", "refuse the job", "refuse the account")
HIDDEN = (0, 0, 1, 1, 2)
"""For how many hours the list does not show what was accepted; more than one are longer than any settle time."""
HOOK_SECRET = b"ours"
REPORTED_BY = ("nobody", "webhook", "page")
DEATHS = st.sampled_from((None, None, 0, 1, 2, 3, 4, 5))
"""At which point around its commits a step dies; one that has fewer lives."""
ENDED = (PredictionStatus.COMPLETED, PredictionStatus.FAILED)
TIMES = {
    "account": ("back_off_until", "limited_at", "check_back_off_until", "reconcile_until", "swept_at"),
    "job": ("due_at", "cancel_requested_at", "ended_at"),
    "prediction": (
        *(
            "due_at",
            "not_before",
            "posted_at",
            "provider_created_at",
            "accepted_at",
            "adopted_at",
            "inconsistent_since",
        ),
        *("ended_at", "early_check_at", "hooked_at", "begun_at"),
    ),
}


class Heart(RuleBasedStateMachine):
    """Events in any order."""

    sessions: Sessions

    def __init__(self) -> None:
        super().__init__()
        with transaction(self.sessions) as session:
            session.execute(text(EMPTY))
            self.account = transitions.accounts.ensure_account(session, "default", slots=3, submits_per_minute=1_000)
        self.provider = LyingProvider(now=lambda: self.ask("SELECT clock_timestamp()")[0][0])
        self.mortal = MortalSessions(self.sessions)
        self.runtime: Any = SimpleNamespace(
            settings=Settings(),
            sessions=self.mortal,
            client=self.provider,
            waker=SimpleNamespace(wake=lambda: None),
            sightings=Sightings(),
            forecaster=Forecaster(Settings(), account=ACCOUNT),
            hook_secret=HOOK_SECRET,
            hook_addresses=HookAddresses("https://ours.example", HOOK_SECRET),
            webhook_secret=SimpleNamespace(find=lambda: WEBHOOK_SECRET, find_other_than=lambda secret: None),
        )
        self.messages: list[transitions.admission.ClaimedSubmit] = []
        self.answers: list[tuple[SubmitTicket, int, ProviderPrediction]] = []
        self.refunded: Counter[str] = Counter()
        self.belated: Counter[str] = Counter()  # shown only after the settle time: what promise 2 assumes not to be
        self.ended: dict[UUID, str] = {}

    def ask(self, query: str, **values: Any) -> list[Any]:
        with transaction(self.sessions) as session:
            return list(session.execute(text(query), values).all())

    @contextlib.contextmanager
    def dying(self, dies_at: int | None) -> Iterator[None]:
        """For one step of a process that may die at this point."""
        self.mortal.points_left = dies_at
        try:
            with contextlib.suppress(Died):
                yield
        finally:
            self.mortal.points_left = None

    @initialize(prompts=st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=4), accepted=st.integers(0, 3))
    def begin(self, prompts: list[str], accepted: int) -> None:
        """With work at hand, or most orders of events would be about nothing."""
        for prompt in prompts:
            self.push(prompt)
        self.dispatch()
        for message in self.messages[:accepted]:
            submit_prediction(self.runtime, message.prediction_id, message.claim)

    @rule(prompt=st.sampled_from(PROMPTS))
    def push(self, prompt: str) -> None:
        values = {"prompt": prompt, "duration": 6, "generate_audio": True}
        with transaction(self.sessions) as session:
            transitions.jobs.insert_job(session, NewJob(VIDEO_MODEL, values, 1, 0, 2), tenant_id=DEFAULT_TENANT)  # type: ignore[arg-type]

    @rule()
    def dispatch(self) -> None:
        with transaction(self.sessions) as session:
            room = transitions.admission.count_free_slots(session, self.account)
            assert room is not None
            transitions.admission.admit_jobs(session, self.account, count=room.count_admissible(10))
            self.messages += transitions.admission.claim_submits(session, self.account, count=room.submits, lease=LEASE)

    @rule(
        data=st.data(),
        answer=st.sampled_from(ANSWERS),
        is_stale=st.booleans(),
        hidden=st.sampled_from(HIDDEN),
        dies_at=DEATHS,
    )
    def submit(self, data: st.DataObject, answer: str, is_stale: bool, hidden: int, dies_at: int | None) -> None:
        """A message that was just published, or any that ever was: the broker may deliver it again."""
        if not is_stale:
            self.dispatch()
        if not self.messages:
            return
        message = data.draw(st.sampled_from(self.messages)) if is_stale else self.messages[-1]
        before = set(self.provider.tasks)
        self.provider.answer = "die after" if answer == "freeze" else answer
        with self.dying(dies_at), contextlib.suppress(RushesError):
            submit_prediction(self.runtime, message.prediction_id, message.claim)
        for new in set(self.provider.tasks) - before:
            self.provider.tasks[new].hidden_hours = hidden
            self.belated[self.provider.tasks[new].prompt] += hidden > 1
            if answer == "freeze":
                self.freeze(message, self.provider.tasks[new])

    def freeze(self, message: transitions.admission.ClaimedSubmit, task: Task) -> None:
        """The worker has its answer and is stopped before it writes it."""
        row = self.ask("SELECT input FROM job WHERE id = :id", id=message.job_id)[0]
        ticket = SubmitTicket(message.prediction_id, message.job_id, self.account, VIDEO_MODEL, row.input, 0)
        self.answers.append((ticket, message.claim, self.provider.show(task)))

    @precondition(lambda self: self.answers)
    @rule(dies_at=DEATHS)
    def thaw(self, dies_at: int | None = None) -> None:
        with self.dying(dies_at):
            submitting._accept(self.runtime, *self.answers.pop(0), forecast={})

    @rule()
    def let_an_hour_pass(self) -> None:
        with transaction(self.sessions) as session:
            for table, columns in TIMES.items():
                now = Base.metadata.tables[table].columns
                rows.change(session, table, **{name: now[name] - HOUR for name in columns})
        for task in self.provider.tasks.values():
            task.created_at -= HOUR
            task.hidden_hours = max(0, task.hidden_hours - 1)
        with transaction(self.sessions) as session:
            transitions.submitting.mark_overdue_unconfirmed(session)
            transitions.renders.requeue_timed_out(session, watch_window=HOUR, count=100)
            transitions.claims.take_back_stores(session, count=100)

    @rule(dies_at=DEATHS)
    def reconcile(self, dies_at: int | None = None) -> None:
        with transaction(self.sessions) as session:
            # Seconds pass, no more: what is hidden from the list stays hidden.
            rows.change(session, "prediction", Prediction.state == "unconfirmed", due_at=NOW)
            rows.change(session, "account", reconcile_until=None)
            claim = transitions.runs.claim_reconcile(session, self.account, lease=LEASE)
        if claim is not None:
            with self.dying(dies_at):
                reconcile_account(self.runtime, self.account, claim)

    @precondition(lambda self: self.list_tasks(over=False))
    @rule(data=st.data(), succeeds=st.booleans(), reported_by=st.sampled_from(REPORTED_BY))
    def end_a_render(self, data: st.DataObject, succeeds: bool, reported_by: str) -> None:
        task = data.draw(st.sampled_from(self.list_tasks(over=False)))
        task.status = PredictionStatus.COMPLETED if succeeds else PredictionStatus.FAILED
        self.refunded[task.prompt] += not succeeds
        if reported_by == "page":
            self.sweep()
        elif reported_by == "webhook":
            self.take_webhook(task)

    def take_webhook(self, task: Task, *, dies_at: int | None = None) -> None:
        with self.dying(dies_at):
            take_webhook(self.runtime, self.provider.make_webhook(task))

    @precondition(lambda self: self.list_tasks(over=True))
    @rule(data=st.data(), times=st.integers(1, 2), is_forged=st.booleans(), dies_at=DEATHS)
    def send_a_webhook(self, data: st.DataObject, times: int, is_forged: bool, dies_at: int | None) -> None:
        """At once or hours after, once or twice, and from somebody who only knows the address."""
        task = data.draw(st.sampled_from(self.list_tasks(over=True)))
        if is_forged:
            with pytest.raises(SignatureRefused):
                take_webhook(self.runtime, self.provider.make_webhook(task, secret="whsec_forged"))
            return
        for _ in range(times):
            self.take_webhook(task, dies_at=dies_at)

    def list_tasks(self, *, over: bool) -> list[Task]:
        return [each for each in self.provider.tasks.values() if (each.status in ENDED) is over]

    @precondition(lambda self: self.provider.tasks)
    @rule(dies_at=DEATHS)
    def sweep(self, dies_at: int | None = None) -> None:
        created = [each.created_at.timestamp() for each in self.provider.tasks.values()]
        with self.dying(dies_at):
            sweep_account(self.runtime, self.account, created_after=min(created), created_before=max(created))

    @rule(dies_at=DEATHS)
    def check(self, dies_at: int | None = None) -> None:
        with self.dying(dies_at):
            for row in self.ask("SELECT id, claim FROM prediction WHERE state = 'rendering'"):
                check_render(self.runtime, row.id, row.claim)

    @rule(dies=st.booleans())
    def store(self, dies: bool) -> None:
        with transaction(self.sessions) as session:
            claimed = transitions.claims.claim_stores(session, count=2, lease=LEASE)
        for each in claimed:
            with transaction(self.sessions) as session:
                transitions.steps.begin_store(session, each.prediction_id, each.claim, lease=LEASE)
            if not dies:
                with transaction(self.sessions) as session:
                    transitions.steps.finish_store(session, each.prediction_id, each.claim, artifacts=[VIDEO])

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        jobs = self.ask("SELECT id FROM job ORDER BY id")
        if jobs:
            with transaction(self.sessions) as session:
                transitions.jobs.cancel_job(session, data.draw(st.sampled_from([row.id for row in jobs])))

    @invariant()
    def nothing_is_paid_for_twice(self) -> None:
        bought = Counter(task.prompt for task in self.provider.tasks.values())
        jobs = Counter(dict(self.ask("SELECT input->>'prompt', count(*) FROM job GROUP BY 1")))
        excused = self.refunded + self.belated
        assert all(bought[prompt] <= jobs[prompt] + excused[prompt] for prompt in PROMPTS)
        duplicates = "SELECT input->>'prompt', count(*) FROM prediction JOIN job ON job.id = job_id"
        found = Counter(dict(self.ask(f"{duplicates} WHERE is_duplicate GROUP BY 1")))
        assert all(found[prompt] <= self.belated[prompt] for prompt in PROMPTS)

    @invariant()
    def nothing_paid_for_is_lost(self) -> None:
        with transaction(self.sessions) as session:
            known = queries.reconciling.filter_known(session, self.account, list(self.provider.tasks))
        unknown = Counter(task.prompt for task in self.provider.tasks.values() if task.id not in known)
        outcome_unknown = """
            SELECT input->>'prompt', count(*) FROM prediction JOIN job ON job.id = job_id
            WHERE posted_at IS NOT NULL AND provider_id IS NULL
              AND prediction.state IN ('submitting', 'unconfirmed') GROUP BY 1
        """
        searched_for = Counter(dict(self.ask(outcome_unknown)))
        assert all(count <= searched_for[prompt] + self.belated[prompt] for prompt, count in unknown.items())

    @invariant()
    def slots_are_never_exceeded(self) -> None:
        held = """
            SELECT count(*) FROM prediction
            WHERE ended_at IS NULL AND watch_windows < :given_back AND NOT is_duplicate
        """
        assert self.ask(held, given_back=SLOT_WINDOWS)[0][0] <= 3

    @invariant()
    def what_has_ended_stays_as_it_is(self) -> None:
        states = {row.id: row.state for row in self.ask("SELECT id, state FROM job")}
        assert all(states[job] == state for job, state in self.ended.items())
        self.ended = {job: state for job, state in states.items() if JobState(state) in JOB_ENDED}

    def teardown(self) -> None:
        """Without faults everything ends, and every purchase is some row's."""
        for _ in range(60):
            while self.answers:
                self.thaw()
            if not self.ask("SELECT 1 FROM job WHERE ended_at IS NULL") and not self.ask(
                "SELECT 1 FROM prediction WHERE ended_at IS NULL"
            ):
                break
            self.let_an_hour_pass()
            self.reconcile()
            self.dispatch()
            self.provider.answer = "accept"
            for message in self.messages:
                submit_prediction(self.runtime, message.prediction_id, message.claim)
            self.messages.clear()
            for task in self.provider.tasks.values():
                if task.status is PredictionStatus.PROCESSING:
                    task.status = PredictionStatus.COMPLETED
            self.check()
            self.store(dies=False)
        else:
            raise AssertionError(self.ask("SELECT id, state, due_at FROM job WHERE ended_at IS NULL"))
        self.end_duplicates()
        with transaction(self.sessions) as session:
            known = queries.reconciling.filter_known(session, self.account, list(self.provider.tasks))
        assert known == set(self.provider.tasks)
        self.nothing_is_paid_for_twice()

    def end_duplicates(self) -> None:
        """What turned up too late is found, settled and stored all the same."""
        if not self.belated.total():
            return
        for _ in HIDDEN:
            self.let_an_hour_pass()
            self.reconcile()
            self.check()
            self.store(dies=False)
        assert not self.ask("SELECT 1 FROM prediction WHERE is_duplicate AND ended_at IS NULL")


@pytest.fixture
def heart(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> type[Heart]:
    monkeypatch.setattr(webhooks, "AGREEMENTS", 0)  # so that the first webhook is an answer
    Heart.sessions = sessions
    return Heart


@pytest.mark.timeout(900)  # 45 s on an idle machine, and CPU alone
def test_the_promises_hold_in_every_order_of_events(heart: type[Heart]) -> None:
    run_state_machine_as_test(
        heart,
        settings=settings(
            max_examples=90, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_a_purchase_that_the_list_shows_two_hours_late_is_found(heart: type[Heart]) -> None:
    """It was marked not found after one hour and bought again: the sweeps must go back to where it was posted."""
    state = heart()
    state.begin(prompts=["a fox"], accepted=0)
    state.submit(answer="lost", data=None, dies_at=None, hidden=2, is_stale=False)
    state.teardown()
    state.nothing_paid_for_is_lost()
