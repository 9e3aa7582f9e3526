"""Actions on many jobs: each job is changed once, whatever happens to the process that makes the change."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from celery import Celery
from sqlalchemy import Engine, event, text

from models import Action, ActionKind, JobState, transitions
from models.db.session import transaction
from models.queries.job_filter import JobFilter
from rushes.access.callers import act_locally
from rushes.errors import Conflict, InvalidInput
from rushes.jobs import actions
from rushes.jobs.actions import (
    abort_action,
    advance_action,
    find_running_action,
    get_action,
    list_items,
    request_action,
)
from rushes.runtime import ACCOUNT, Runtime
from tests.support import rows
from tests.support.access import EVERYONE
from tests.support.runtimes import MODEL, ask, finish_actions, wish
from workers.dispatcher.errands import MOST_FAILED_ACTS, Errands
from workers.dispatcher.publisher import Publisher

BROKEN = {"error_code": "broken", "error_message": "x", "ended_at": rows.NOW}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "CHUNK", 3)
    monkeypatch.setattr(actions, "CHECKED_CHUNK", 2)


def fill(runtime: Runtime, count: int, state: str = "queued", **columns: Any) -> list[UUID]:
    """Jobs in this state."""
    columns = {"video_model": MODEL, "input": wish(), **columns}
    numbers = [{"number": number} if "batch_id" in columns else {} for number in range(1, count + 1)]
    with transaction(runtime.sessions) as session:
        return [rows.add_job(session, state, **columns, **number) for number in numbers]


def request(runtime: Runtime, kind: ActionKind, *, arguments: dict[str, Any] | None = None, **chosen: Any) -> Action:
    return request_action(
        runtime.sessions, kind, lambda _: JobFilter(**chosen), caller=act_locally("mara"), arguments=arguments
    )


def add_batch(runtime: Runtime) -> UUID:
    with transaction(runtime.sessions) as session:
        return rows.insert(session, "batch", name="pilot", job_count=9)


def finish(runtime: Runtime) -> None:
    finish_actions(runtime.sessions)


def advance(runtime: Runtime) -> None:
    action = find_running_action(runtime.sessions)
    assert action is not None
    advance_action(runtime.sessions, action)


def states(runtime: Runtime) -> Counter[str]:
    return Counter(state for (state,) in ask(runtime, "SELECT state FROM job"))


def test_a_retry_by_code_retries_those_jobs_once(runtime: Runtime) -> None:
    fill(runtime, 7, "failed", **BROKEN)
    fill(runtime, 2, "failed", **BROKEN | {"error_code": "other"})
    fill(runtime, 1)
    action = request(runtime, ActionKind.RETRY, code="broken")
    assert (action.matched, action.cost) == (
        7,
        sum(price for (price,) in ask(runtime, "SELECT price FROM job LIMIT 7")),
    )
    fill(runtime, 1, "failed", **BROKEN)  # later than the action
    finish(runtime)
    assert states(runtime) == {"queued": 8, "failed": 3}
    done = get_action(runtime.sessions, action.id)
    assert (done.state, done.changed, done.refused) == ("done", 7, 0)
    assert ask(runtime, "SELECT count(*), count(DISTINCT job_id) FROM event WHERE kind = 'job.retried'") == [(7, 7)]
    assert ask(runtime, "SELECT DISTINCT detail->>'by' FROM event WHERE kind = 'job.retried'") == [("mara",)]


def test_a_retry_leaves_alone_what_fails_after_its_request(runtime: Runtime) -> None:
    fill(runtime, 1, "failed", **BROKEN)
    (later,) = fill(runtime, 1)
    action = request(runtime, ActionKind.RETRY, code="broken")
    with transaction(runtime.sessions) as session:
        rows.change(session, "job", later, state="failed", due_at=None, **BROKEN)
    finish(runtime)
    assert ask(runtime, "SELECT id FROM job WHERE state = 'failed'") == [(later,)]
    assert get_action(runtime.sessions, action.id).changed == 1


def test_two_leaders_and_a_crash_change_each_job_once(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(runtime, 20, "failed", **BROKEN)
    action = request(runtime, ActionKind.RETRY, code="broken")
    advance(runtime)
    with monkeypatch.context() as patch:
        patch.delattr(transitions.actions, "advance_action")
        with pytest.raises(AttributeError):
            advance(runtime)  # dies after the change, before the progress is written
    assert states(runtime) == {"queued": 3, "failed": 17}
    with ThreadPoolExecutor(2) as leaders:
        list(leaders.map(finish, [runtime, runtime]))
    assert ask(runtime, "SELECT count(*), count(DISTINCT job_id) FROM event WHERE kind = 'job.retried'") == [(20, 20)]
    assert get_action(runtime.sessions, action.id).changed == 20
    assert len(list_items(runtime.sessions, action.id, outcome="queued", limit=99, after=None).items) == 20


def test_an_action_that_always_fails_is_aborted_and_the_next_one_runs(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(runtime, 1, "failed", **BROKEN)
    (job,) = fill(runtime, 1)
    poison = request(runtime, ActionKind.RETRY, code="broken")
    request(runtime, ActionKind.CANCEL, ids=(job,))
    monkeypatch.delattr(transitions.retries, "retry_jobs")
    errands = Errands(runtime, Publisher(Celery()))
    for _ in range(MOST_FAILED_ACTS):
        assert not errands.act()
    aborted = get_action(runtime.sessions, poison.id)
    assert aborted.state == "aborted"
    assert (aborted.problem or "").startswith("it failed 5 times in a row (AttributeError: ")
    errands.act()
    assert states(runtime) == {"failed": 1, "cancelled": 1}


def test_a_locked_job_is_tried_again_and_counts_as_no_failure(runtime: Runtime) -> None:
    (job, _) = fill(runtime, 2)
    action = request(runtime, ActionKind.CANCEL, states=(JobState.QUEUED,))
    errands = Errands(runtime, Publisher(Celery()))
    began = time.monotonic()
    with transaction(runtime.sessions) as other:
        other.execute(text("SELECT 1 FROM job WHERE id = :id FOR UPDATE"), {"id": job})
        for _ in range(MOST_FAILED_ACTS + 1):
            assert not errands.act()
    assert time.monotonic() - began < 9  # a lock was waited for for 10 s each
    assert get_action(runtime.sessions, action.id).state == "running"
    errands.act()
    assert states(runtime) == {"cancelled": 2}


def test_an_action_that_waits_for_a_batch_holds_up_no_other(runtime: Runtime) -> None:
    with transaction(runtime.sessions) as session:
        batch_id = rows.insert(session, "batch", name="night", job_count=1)
        rows.add_job(session, "failed", batch_id=batch_id, number=1, **BROKEN)
    fill(runtime, 1)
    for _ in range(2):
        request(runtime, ActionKind.RETRY, code="broken")
    request(runtime, ActionKind.CANCEL, states=(JobState.QUEUED,))
    errands = Errands(runtime, Publisher(Celery()))
    with transaction(runtime.sessions) as other:
        assert transitions.filling.hold_batch(other, batch_id)
        for _ in range(3):
            errands.act()
        assert states(runtime) == {"failed": 1, "cancelled": 1}
    while errands.act():
        pass
    assert states(runtime) == {"queued": 1, "cancelled": 1}


def test_an_aborted_action_changes_no_further_job(runtime: Runtime) -> None:
    fill(runtime, 9)
    action = request(runtime, ActionKind.CANCEL, states=(JobState.QUEUED,))
    advance(runtime)
    assert abort_action(runtime.sessions, action.id, problem="x", caller=EVERYONE).state == "aborted"
    assert find_running_action(runtime.sessions) is None
    assert states(runtime) == {"cancelled": 3, "queued": 6}


def test_a_cancellation_reaches_queued_and_rendering_jobs(runtime: Runtime) -> None:
    batch = add_batch(runtime)
    fill(runtime, 4, batch_id=batch)
    with transaction(runtime.sessions) as session:
        render = rows.add_render(session, "rendering")
        rows.change(session, "job", render.job_id, batch_id=batch, number=99)
    action = request(runtime, ActionKind.CANCEL, batch_id=batch)
    assert action.matched == 5
    finish(runtime)
    assert states(runtime) == {"cancelled": 4, "rendering": 1}
    (item,) = list_items(runtime.sessions, action.id, outcome="requested", limit=9, after=None).items
    assert item.job_id == render.job_id


@contextmanager
def counted_statements(runtime: Runtime) -> Iterator[list[str]]:
    """The statements that Postgres gets meanwhile, savepoints included."""
    engine: Engine = runtime.sessions.kw["bind"]
    made: list[str] = []
    names = ("savepoint", "rollback_savepoint", "release_savepoint")
    listeners = [("before_cursor_execute", lambda *given: made.append(given[2]))]
    listeners += [(name, lambda *given: made.append("savepoint")) for name in names]
    for name, listener in listeners:
        event.listen(engine, name, listener)
    yield made
    for name, listener in listeners:
        event.remove(engine, name, listener)


def test_a_chunk_of_cancellations_needs_few_statements_whatever_the_states(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "CHUNK", 60)
    fill(runtime, 20)
    with transaction(runtime.sessions) as session:
        renders = [rows.add_render(session, state) for state in ("rendering", "completed") * 20]
    action = request(runtime, ActionKind.CANCEL, states=(JobState.QUEUED, JobState.RENDERING, JobState.STORING))
    with counted_statements(runtime) as made:
        advance(runtime)
    assert len(made) < 30  # it grew with the jobs once
    assert get_action(runtime.sessions, action.id).changed == 60
    requested = list_items(runtime.sessions, action.id, outcome="requested", limit=99, after=None).items
    assert {each.job_id for each in requested} == {each.job_id for each in renders}


def test_paused_jobs_are_not_admitted_until_they_are_resumed(runtime: Runtime) -> None:
    with transaction(runtime.sessions) as session:
        account = transitions.accounts.ensure_account(session, ACCOUNT, slots=100, submits_per_minute=1000)
    paused, free = fill(runtime, 2), fill(runtime, 2)

    def admit() -> int:
        with transaction(runtime.sessions) as session:
            return transitions.admission.admit_jobs(session, account, count=9)

    request(runtime, ActionKind.PAUSE, ids=tuple(paused))
    finish(runtime)
    assert admit() == len(free)
    request(runtime, ActionKind.RESUME, states=(JobState.QUEUED,))
    finish(runtime)
    assert admit() == len(paused)


def test_a_new_priority_changes_the_order_of_admission(runtime: Runtime) -> None:
    first, second = fill(runtime, 2)
    action = request(runtime, ActionKind.PRIORITY, ids=(second,), arguments={"priority": 5})
    finish(runtime)
    assert ask(runtime, "SELECT id FROM job ORDER BY priority DESC, id") == [(second,), (first,)]
    assert get_action(runtime.sessions, action.id).changed == 1
    request(runtime, ActionKind.PRIORITY, ids=(first, second), arguments={"priority": 5})
    finish(runtime)
    assert ask(runtime, "SELECT changed, refused FROM action ORDER BY id") == [(1, 0), (1, 1)]


def test_a_retry_with_another_input_refuses_only_what_is_wrong(runtime: Runtime) -> None:
    good = fill(runtime, 3, "failed", **BROKEN)
    (bad,) = fill(runtime, 1, "failed", **BROKEN, video_model="lightricks/ltx-2-retake")
    action = request(runtime, ActionKind.RETRY, code="broken", arguments={"input": {"duration": 8}})
    finish(runtime)
    assert {each for (each,) in ask(runtime, "SELECT id FROM job WHERE state = 'queued'")} == set(good)
    assert ask(runtime, "SELECT DISTINCT input->>'duration' FROM job WHERE state = 'queued'") == [("8",)]
    (item,) = list_items(runtime.sessions, action.id, outcome="refused", limit=9, after=None).items
    assert (item.job_id, "input" in (item.message or "")) == (bad, True)


def test_a_job_that_has_changed_meanwhile_is_refused_with_the_reason(runtime: Runtime) -> None:
    (job,) = fill(runtime, 1, "failed", **BROKEN)
    action = request(runtime, ActionKind.RECHECK, ids=(job,))
    finish(runtime)
    (item,) = list_items(runtime.sessions, action.id, outcome=None, limit=9, after=None).items
    assert (item.outcome, item.message) == ("refused", "it has no unverified file, or has a video")


def test_a_dry_run_counts_and_stores_nothing(runtime: Runtime) -> None:
    fill(runtime, 2)
    action = request_action(
        runtime.sessions,
        ActionKind.CANCEL,
        lambda _: JobFilter(states=(JobState.QUEUED,)),
        caller=act_locally("x"),
        dry_run=True,
    )
    assert action.matched == 2
    assert ask(runtime, "SELECT count(*) FROM action") == [(0,)]


@pytest.mark.parametrize(
    ("kind", "chosen", "field"),
    [
        (ActionKind.CANCEL, {}, "filter"),
        (ActionKind.CANCEL, {"states": (JobState.FAILED,)}, "filter.state"),
        (ActionKind.RETRY, {"states": (JobState.QUEUED,)}, "filter.state"),
        (ActionKind.DELETE, {"code": "x"}, "filter"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(
    runtime: Runtime, kind: ActionKind, chosen: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        request(runtime, kind, **chosen)
    assert [each.field for each in refused.value.problems] == [field]


def test_an_ended_batch_is_deleted_at_once_and_an_open_one_is_not(runtime: Runtime) -> None:
    batch = add_batch(runtime)
    (job,) = fill(runtime, 1, batch_id=batch)
    with pytest.raises(Conflict, match="have not ended"):
        request(runtime, ActionKind.DELETE, batch_id=batch)
    with transaction(runtime.sessions) as session:
        rows.change(session, "job", job, state="cancelled", ended_at=rows.NOW, due_at=None)
    assert request(runtime, ActionKind.DELETE, batch_id=batch).state == "done"
    assert ask(runtime, "SELECT count(*) FROM batch WHERE deleted_at IS NOT NULL") == [(1,)]
