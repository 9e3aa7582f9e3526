"""A model of the heart: the real steps on real Postgres, a provider that lies, crashes between any two of their lines.

Hypothesis tries orders of events that nobody thought of: answers that are lost, late or refused, workers that die
before and after a POST, messages that come twice or stale, a provider that accepts late, verdicts, cancellations. Time
passes by moving every stored time into the past. After each event the promises are held; at the end all faults stop,
and everything must end.
"""

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

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

from models import ArtifactKind, Base, JobState, queries, transitions
from models.lifecycle import JOB_ENDED, SLOT_WINDOWS
from models.session import Sessions, transaction
from models.transitions import NewArtifact, SubmitTicket
from models.transitions.jobs import NewJob
from rushes import submitting
from rushes.errors import RushesError
from rushes.reconciling import reconcile_account
from rushes.settings import Settings
from rushes.submitting import submit_prediction
from rushes.watching import look_at_prediction
from rushes.wavespeed import (
    InputRefused,
    NotSent,
    Prediction,
    PredictionNotFound,
    PredictionPage,
    PredictionStatus,
    RateLimited,
    SubmitInDoubt,
)
from tests.rows import SHA256, VIDEO_MODEL

LEASE = timedelta(seconds=30)
HOUR = timedelta(hours=1)  # longer than every lease, window and settle time
PROMPTS = ("a fox", "a wolf")  # few, so that identical jobs are common
VIDEO = NewArtifact(ArtifactKind.VIDEO, "file:///a.mp4", 7, SHA256)
DOUBTFUL = ("lost", "never", "die before", "die after", "freeze")
ANSWERS = (*DOUBTFUL, *DOUBTFUL, "accept", "accept", "not sent", "refuse the job", "refuse the account")
TIMES = {
    "account": ("deferred_until", "limited_at", "looks_deferred_until", "reconcile_until", "orphans_swept_at"),
    "job": ("due_at", "cancel_requested_at", "ended_at", "begun_at"),
    "prediction": (
        *("due_at", "not_before", "posted_at", "provider_created_at", "accepted_at", "adopted_at", "odd_since"),
        "ended_at",
    ),
}


class Died(BaseException):
    """The worker was killed at this line."""


@dataclass
class Task:
    """A purchase at the provider."""

    id: str
    values: dict[str, Any]
    created_at: datetime
    status: PredictionStatus = PredictionStatus.PROCESSING
    is_listed: bool = True


@dataclass
class Provider:
    """Stands in the client's place; `answer` is how the next submission ends."""

    now: Any
    tasks: dict[str, Task] = field(default_factory=dict)
    answer: str = "accept"

    def submit(self, video_model_id: str, values: dict[str, Any], **_: Any) -> Prediction:
        match self.answer:
            case "never":
                raise SubmitInDoubt("no answer")
            case "not sent":
                raise NotSent("refused connection")
            case "refuse the job":
                raise InputRefused("no such duration")
            case "refuse the account":
                raise RateLimited("slower")
            case "die before":
                raise Died
        task = Task(uuid4().hex, values, self.now())
        self.tasks[task.id] = task
        if self.answer == "lost":
            raise SubmitInDoubt("the connection was cut")
        if self.answer == "die after":
            raise Died
        return self.show(task)

    def get_prediction(self, provider_id: str) -> Prediction:
        if provider_id not in self.tasks:
            raise PredictionNotFound(provider_id)
        return self.show(self.tasks[provider_id])

    def list_predictions(self, *, created_after: datetime, **_: Any) -> PredictionPage:
        shown = [each for each in self.tasks.values() if each.is_listed and each.created_at >= created_after]
        return PredictionPage(1, tuple(self.show(each) for each in reversed(shown)), unreadable=0, is_last=True)

    def show(self, task: Task) -> Prediction:
        done = task.status is PredictionStatus.COMPLETED
        return Prediction(
            id=task.id,
            status=task.status,
            video_model_id=VIDEO_MODEL,
            outputs=("http://x/y.mp4",) if done else (),
            error_code=5000 if task.status is PredictionStatus.FAILED else None,
            created_at=task.created_at,
            inputs=task.values,
        )


class Heart(RuleBasedStateMachine):
    """Events in any order."""

    sessions: Sessions

    def __init__(self) -> None:
        super().__init__()
        with transaction(self.sessions) as session:
            session.execute(text(f"TRUNCATE {', '.join(Base.metadata.tables)} RESTART IDENTITY"))
            self.account = transitions.ensure_account(session, "default", slots=3, submits_per_minute=1_000)
        self.provider = Provider(now=lambda: self.ask("SELECT clock_timestamp()")[0][0])
        waker = SimpleNamespace(wake=lambda: None)
        self.runtime: Any = SimpleNamespace(
            settings=Settings(), sessions=self.sessions, client=self.provider, waker=waker, hook_addresses=None
        )
        self.messages: list[transitions.ClaimedSubmit] = []
        self.answers: list[tuple[SubmitTicket, int, Prediction]] = []
        self.refunded: Counter[str] = Counter()
        self.ended: dict[UUID, str] = {}

    def ask(self, query: str, **values: Any) -> list[Any]:
        with transaction(self.sessions) as session:
            return list(session.execute(text(query), values).all())

    @initialize(prompts=st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=4))
    def begin(self, prompts: list[str]) -> None:
        """With work at hand, or most orders of events would be about nothing."""
        for prompt in prompts:
            self.push(prompt)
        self.dispatch()

    @rule(prompt=st.sampled_from(PROMPTS))
    def push(self, prompt: str) -> None:
        values = {"prompt": prompt, "duration": 6, "generate_audio": True}
        with transaction(self.sessions) as session:
            transitions.insert_jobs(session, [NewJob(VIDEO_MODEL, values, 1, 0, 2)])  # type: ignore[arg-type]

    @rule()
    def dispatch(self) -> None:
        with transaction(self.sessions) as session:
            room = transitions.lock_account(session, self.account)
            assert room is not None
            transitions.admit_jobs(session, self.account, count=room.count_admissible(10))
            self.messages += transitions.claim_submits(session, self.account, count=room.submits, lease=LEASE)

    @rule(data=st.data(), answer=st.sampled_from(ANSWERS), is_stale=st.booleans(), hidden=st.booleans())
    def submit(self, data: st.DataObject, answer: str, is_stale: bool, hidden: bool) -> None:
        """A message that was just published, or any that ever was: the broker may deliver it again."""
        if not is_stale:
            self.dispatch()
        if not self.messages:
            return
        message = data.draw(st.sampled_from(self.messages)) if is_stale else self.messages[-1]
        before = set(self.provider.tasks)
        self.provider.answer = "die after" if answer == "freeze" else answer
        with contextlib.suppress(RushesError, Died):
            submit_prediction(self.runtime, message.prediction_id, message.claim)
        for new in set(self.provider.tasks) - before:
            self.provider.tasks[new].is_listed = not hidden
            if answer == "freeze":
                self.freeze(message, self.provider.tasks[new])

    def freeze(self, message: transitions.ClaimedSubmit, task: Task) -> None:
        """The worker has its answer and is stopped before it writes it."""
        row = self.ask("SELECT input FROM job WHERE id = :id", id=message.job_id)[0]
        ticket = SubmitTicket(message.prediction_id, message.job_id, self.account, VIDEO_MODEL, row.input, 0)
        self.answers.append((ticket, message.claim, self.provider.show(task)))

    @precondition(lambda self: self.answers)
    @rule()
    def thaw(self) -> None:
        submitting._accept(self.runtime, *self.answers.pop(0))

    @rule()
    def let_an_hour_pass(self) -> None:
        with transaction(self.sessions) as session:
            for table, columns in TIMES.items():
                moved = ", ".join(f"{column} = {column} - interval '1 hour'" for column in columns)
                session.execute(text(f"UPDATE {table} SET {moved}"))  # noqa: S608 - constants of this file
        for task in self.provider.tasks.values():
            task.created_at -= HOUR
            task.is_listed = True
        with transaction(self.sessions) as session:
            transitions.doubt_overdue(session)
            transitions.requeue_timed_out(session, watch_window=HOUR, count=100)
            transitions.take_back_stores(session, count=100)

    @rule()
    def reconcile(self) -> None:
        with transaction(self.sessions) as session:
            # Seconds pass, no more: what is hidden from the list stays hidden.
            session.execute(text("UPDATE prediction SET due_at = now() WHERE state = 'unconfirmed'"))
            session.execute(text("UPDATE account SET reconcile_until = NULL"))
            claim = transitions.claim_reconcile(session, self.account, lease=LEASE)
        if claim is not None:
            reconcile_account(self.runtime, self.account, claim)

    @precondition(lambda self: self.provider.tasks)
    @rule(data=st.data(), succeeds=st.booleans())
    def end_a_render(self, data: st.DataObject, succeeds: bool) -> None:
        task = data.draw(st.sampled_from(sorted(self.provider.tasks.values(), key=lambda each: each.created_at)))
        if task.status is PredictionStatus.PROCESSING:
            task.status = PredictionStatus.COMPLETED if succeeds else PredictionStatus.FAILED
            self.refunded[task.values["prompt"]] += not succeeds

    @rule()
    def look(self) -> None:
        for row in self.ask("SELECT id, claim FROM prediction WHERE state = 'rendering'"):
            look_at_prediction(self.runtime, row.id, row.claim)

    @rule(dies=st.booleans())
    def store(self, dies: bool) -> None:
        with transaction(self.sessions) as session:
            claimed = transitions.claim_stores(session, count=2, lease=LEASE)
        for each in claimed:
            with transaction(self.sessions) as session:
                transitions.begin_store(session, each.job_id, each.claim, lease=LEASE)
            if not dies:
                with transaction(self.sessions) as session:
                    ids = {"prediction_id": each.prediction_id, "artifacts": [VIDEO]}
                    transitions.finish_store(session, each.job_id, each.claim, **ids)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        jobs = self.ask("SELECT id FROM job ORDER BY id")
        if jobs:
            with transaction(self.sessions) as session:
                transitions.cancel_job(session, data.draw(st.sampled_from([row.id for row in jobs])))

    @invariant()
    def nothing_is_paid_for_twice(self) -> None:
        bought = Counter(task.values["prompt"] for task in self.provider.tasks.values())
        jobs = Counter(dict(self.ask("SELECT input->>'prompt', count(*) FROM job GROUP BY 1")))
        assert all(bought[prompt] <= jobs[prompt] + self.refunded[prompt] for prompt in PROMPTS)
        assert not self.ask("SELECT 1 FROM prediction WHERE state = 'surplus'")

    @invariant()
    def nothing_paid_for_is_lost(self) -> None:
        with transaction(self.sessions) as session:
            known = queries.filter_known(session, self.account, list(self.provider.tasks))
        unknown = Counter(task.values["prompt"] for task in self.provider.tasks.values() if task.id not in known)
        in_doubt = """
            SELECT input->>'prompt', count(*) FROM prediction JOIN job ON job.id = job_id
            WHERE posted_at IS NOT NULL AND provider_id IS NULL
              AND prediction.state IN ('submitting', 'unconfirmed') GROUP BY 1
        """
        looked_for = Counter(dict(self.ask(in_doubt)))
        assert all(count <= looked_for[prompt] for prompt, count in unknown.items())

    @invariant()
    def slots_are_never_exceeded(self) -> None:
        held = """
            SELECT count(*) FROM prediction
            WHERE ended_at IS NULL AND watch_windows < :given_back
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
            self.look()
            self.store(dies=False)
        else:
            raise AssertionError(self.ask("SELECT id, state, due_at FROM job WHERE ended_at IS NULL"))
        with transaction(self.sessions) as session:
            known = queries.filter_known(session, self.account, list(self.provider.tasks))
        assert known == set(self.provider.tasks)
        self.nothing_is_paid_for_twice()


@pytest.fixture
def heart(shared_sessions: Sessions) -> type[Heart]:
    Heart.sessions = shared_sessions
    return Heart


def test_the_promises_hold_in_every_order_of_events(heart: type[Heart]) -> None:
    run_state_machine_as_test(
        heart,
        settings=settings(
            max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
