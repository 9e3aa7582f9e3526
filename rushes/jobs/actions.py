"""Changes to many jobs at once: requested as a row, made by the leader in small transactions.

The filter is resolved when the action is requested, and no later job meets it. The leader goes through the matching
jobs in the order of their ids. Each chunk commits its changes together with the place that was reached, so a crash
repeats none and skips none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from models import Action, ActionKind, ActionState, Batch, JobState, queries, transitions
from models.db.session import Sessions, one_statement, transaction
from models.lifecycle import is_ended
from models.queries.actions import ActionResult
from models.queries.job_filter import JobFilter
from models.queries.job_lists import list_ids
from rushes.access.audit_log import record
from rushes.access.callers import Caller
from rushes.catalog import is_data_url
from rushes.errors import Conflict, InvalidInput, NotFound, Problem, Refused
from rushes.jobs.own_values import find_unstorable
from rushes.jobs.retry import retry_in
from rushes.jobs.views import Page, cut_page

CHUNK = 200
CHECKED_CHUNK = 10
"""Jobs per transaction; fewer if each job's new input is checked. A transaction should take under 100 ms."""
PRIORITIES = range(-100, 101)
"""As for a push."""
NO_FILES = (
    "an action takes an address and not a file: send the file to POST /v1/uploads and give its reference, or retry one "
    "job by `rushes job retry ID --set NAME=FILE`"
)

_OPEN = tuple(state for state in JobState if not is_ended(state))
_RETRIABLE = (JobState.FAILED, JobState.CANCELLED)
_STATES = {ActionKind.RETRY: _RETRIABLE, ActionKind.RECHECK: _RETRIABLE}
_REFUSALS = {
    ActionKind.RETRY: "it is not failed or cancelled any more, has a video, or belongs to a deleted batch",
    ActionKind.CANCEL: "it has ended",
    ActionKind.PRIORITY: "it has ended, or has this priority",
    ActionKind.PAUSE: "it has ended, or is paused already",
    ActionKind.RESUME: "it has ended, or is not paused",
    ActionKind.RECHECK: "it has no unverified file, or has a video",
}
_FILTER = TypeAdapter(JobFilter)


def request_action(
    sessions: Sessions,
    kind: ActionKind,
    choose: Callable[[Session], JobFilter],
    *,
    caller: Caller,
    arguments: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> Action:
    """Store an action on the jobs that `choose` returns, with their count and cost; with `dry_run`, only count them.

    Raises `InvalidInput` without a filter, or if it names only states in which `kind` does nothing.
    """
    arguments = dict(arguments or {})
    _check_arguments(kind, arguments)
    with transaction(sessions) as session:
        chosen = _resolve(session, kind, choose, closes_for=None if dry_run else caller)
        matched, cost = queries.actions.count_matches(session, chosen)
        action = Action(
            kind=kind.value,
            chosen=_FILTER.dump_python(chosen, mode="json", exclude_defaults=True),
            arguments=arguments,
            tenant_id=chosen.tenant_id,
            requested_by=caller.by,
            matched=matched,
            cost=cost,
            changed=0,
            refused=0,
        )
        if dry_run:
            return action
        if kind is ActionKind.DELETE:
            _delete_batch(session, chosen, by=caller.by)
            action.state, action.changed, action.ended_at = ActionState.DONE.value, matched, datetime.now(UTC)
        transitions.actions.insert_action(session, action)
        session.refresh(action)
        asked = {"kind": kind.value, "filter": action.chosen, "arguments": arguments, "jobs": matched}
        record(session, caller, "action.request", action.id, after=asked)
    return action


def find_running_action(sessions: Sessions, *, after: UUID | None = None) -> Action | None:
    """Return the oldest action that runs, or the next one after another."""
    with one_statement(sessions) as session:
        return queries.actions.find_running(session, after=after)


def advance_action(sessions: Sessions, action: Action) -> None:
    """Change the next few jobs that match, or end the action if there are none.

    Raises an error of the database, for which `is_lock_failure` holds, if another transaction keeps one of them locked.
    """
    chosen = _FILTER.validate_python(action.chosen)
    chunk = CHECKED_CHUNK if action.arguments.get("input") else CHUNK
    with transaction(sessions) as session:
        if not transitions.actions.hold_action(session, action.id, last_id=action.last_id):
            return
        ids = list_ids(session, chosen, after=action.last_id, limit=chunk)
        if not ids:
            transitions.actions.end_action(session, action.id, state=ActionState.DONE.value)
            return
        changed, special = _change(session, action, ids)
        usual = _REFUSALS[ActionKind(action.kind)]
        refused = {job_id: special.get(job_id, usual) for job_id in ids if job_id not in changed}
        transitions.actions.advance_action(session, action.id, ids, changed=changed, refused=refused)


def get_action(sessions: Sessions, action_id: UUID) -> Action:
    """Return one action. Raises `NotFound`."""
    with transaction(sessions) as session:
        return _require_action(session, action_id)


def abort_action(sessions: Sessions, action_id: UUID, *, problem: str, caller: Caller | None = None) -> Action:
    """End an action that runs because of this problem. The jobs that it has reached stay changed. Raises `NotFound`.

    Without a caller, nobody has asked for it.
    """
    with transaction(sessions) as session:
        action = _require_action(session, action_id)
        was_running = action.state == ActionState.RUNNING.value
        transitions.actions.end_action(session, action_id, state=ActionState.ABORTED.value, problem=problem)
        session.refresh(action)
        if caller is not None and was_running:
            before, after = {"state": ActionState.RUNNING}, {"state": action.state, "changed": action.changed}
            record(session, caller, "action.abort", action_id, before=before, after=after)
        return action


def list_actions(sessions: Sessions, caller: Caller, *, limit: int, before: UUID | None) -> Page[Action, UUID]:
    """List the actions of the tenants that the caller reaches, newest first."""
    with transaction(sessions) as session:
        found = queries.actions.list_actions(session, limit=limit + 1, before=before, tenant_id=caller.reach)
    return cut_page(found, limit=limit, key=lambda action: action.id)


def list_items(
    sessions: Sessions, action_id: UUID, *, outcome: str | None, limit: int, after: UUID | None
) -> Page[ActionResult, UUID]:
    """List what an action did to each job. Raises `NotFound`."""
    with transaction(sessions) as session:
        _require_action(session, action_id)
        found = queries.actions.list_items(session, action_id, outcome=outcome, limit=limit + 1, after=after)
    return cut_page(found, limit=limit, key=lambda item: item.job_id)


def _require_action(session: Session, action_id: UUID) -> Action:
    action = queries.actions.find_action(session, action_id)
    if action is None:
        raise NotFound(f"there is no action {action_id}")
    return action


def _check_arguments(kind: ActionKind, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that the action would ignore, a missing priority, and files."""
    if ("priority" in arguments) != (kind is ActionKind.PRIORITY):
        raise InvalidInput([Problem("priority", "is required for the kind priority, and allowed for no other")])
    if "input" in arguments and kind is not ActionKind.RETRY:
        raise InvalidInput([Problem("input", "is allowed for the kind retry only")])
    values = arguments.get("input") or {}
    if reason := find_unstorable(values):
        raise InvalidInput([Problem("input", reason)])
    if files := [name for name, value in values.items() if isinstance(value, str) and is_data_url(value)]:
        raise InvalidInput([Problem(f"input.{name}", NO_FILES) for name in files])


def _resolve(
    session: Session, kind: ActionKind, choose: Callable[[Session], JobFilter], *, closes_for: Caller | None
) -> JobFilter:
    """Return the filter with everything that holds now. With `closes_for`, cancelling a whole batch closes it."""
    chosen = _choose(session, choose)
    is_closed = closes_for is not None and kind is ActionKind.CANCEL and _close_batch(session, chosen, by=closes_for.by)
    restricted = _restrict(kind, chosen, now=queries.health.read_clock(session))
    # A job may have been added to the batch since this transaction began, but none can be added from now on.
    return replace(restricted, created_before=None) if is_closed else restricted


def _choose(session: Session, choose: Callable[[Session], JobFilter]) -> JobFilter:
    try:
        return choose(session)
    except InvalidInput as error:
        raise InvalidInput([each.under("filter") for each in error.problems]) from None


def _restrict(kind: ActionKind, chosen: JobFilter, *, now: datetime) -> JobFilter:
    """Keep the filter to jobs that exist now and are in a state in which `kind` may do something."""
    if chosen.is_empty:
        raise InvalidInput([Problem("filter", "name at least one property: otherwise it would match every job")])
    if kind is ActionKind.DELETE:
        if _find_whole_batch(chosen) is None:
            raise InvalidInput([Problem("filter", "delete removes a whole batch: name the batch and nothing else")])
        return chosen
    possible = _STATES.get(kind, _OPEN)
    states = tuple(each for each in chosen.states or possible if each in possible)
    if not states:
        raise InvalidInput([Problem("filter.state", f"{kind.value} applies to jobs that are {' or '.join(possible)}")])
    chosen = replace(chosen, states=states, created_before=min(chosen.created_before or now, now))
    if kind not in _STATES:
        return chosen
    # A job that fails later was not part of what the person has confirmed.
    return replace(chosen, ended_before=min(chosen.ended_before or now, now))


def _find_whole_batch(chosen: JobFilter) -> UUID | None:
    """Return the batch that a filter names, if it names nothing else."""
    return chosen.batch_id if replace(chosen, tenant_id=None) == JobFilter(batch_id=chosen.batch_id) else None


def _close_batch(session: Session, chosen: JobFilter, *, by: str) -> bool:
    batch_id = _find_whole_batch(chosen)
    return batch_id is not None and transitions.filling.cancel_open_batch(session, batch_id, by=by)


def _delete_batch(session: Session, chosen: JobFilter, *, by: str) -> None:
    """Mark the batch to be removed: one row, so it is done at once."""
    assert chosen.batch_id is not None  # noqa: S101 - `_restrict` has refused any other filter
    if transitions.pruning.delete_batch(session, chosen.batch_id, by=by):
        return
    batch = session.get(Batch, chosen.batch_id)
    if batch is not None and batch.deleted_at is None:
        raise Conflict(f"jobs of batch {batch.name!r} have not ended: cancel them first")


def _change(session: Session, action: Action, ids: Sequence[UUID]) -> tuple[dict[UUID, str], dict[UUID, str]]:
    """Change these jobs. Returns the new state of those that were changed, and special reasons of those that were not.

    A job that keeps its state has the name of the action as its new state.
    """
    by, kind = action.requested_by, ActionKind(action.kind)
    if kind is ActionKind.RETRY:
        if replaced := action.arguments.get("input"):
            return _retry_with(session, ids, replaced, by=by)
        return transitions.retries.retry_jobs(session, ids, by=by), {}
    if kind is ActionKind.CANCEL:
        return transitions.jobs.cancel_jobs(session, ids, by=by), {}
    if kind is ActionKind.RECHECK:
        rechecked = transitions.unverified.recheck_jobs(session, ids, by=by)
        return dict.fromkeys(rechecked, JobState.STORING.value), {}
    if kind is ActionKind.PRIORITY:
        done = transitions.jobs.set_priority(session, ids, priority=action.arguments["priority"], by=by)
    elif kind is ActionKind.PAUSE:
        done = transitions.jobs.pause_jobs(session, ids, by=by)
    else:
        done = transitions.jobs.resume_jobs(session, ids, by=by)
    return dict.fromkeys(done, kind.value), {}


def _retry_with(
    session: Session, ids: Sequence[UUID], replaced: Mapping[str, Any], *, by: str
) -> tuple[dict[UUID, str], dict[UUID, str]]:
    states, refused = {}, {}
    transitions.endings.hold_batches_of(session, ids)  # all of them, before the first job's uploads
    for job_id in ids:
        try:
            with session.begin_nested():
                states[job_id] = retry_in(session, job_id, replaced, by=by)
        except Refused as error:
            refused[job_id] = str(error)
    return states, refused
