"""Actions: one change to every job that meets a filter, with progress and a result per job."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Response

from api import examples
from api.access import CallerDep
from api.deps import ActionBody, ActionId, RuntimeDep
from api.idempotency import Made, OnceDep
from api.openapi import BODY_ERRORS, answers, shows, takes
from api.schemas.actions import (
    ActionItemPage,
    ActionItemView,
    ActionPage,
    ActionsAsked,
    ActionView,
    ItemsAsked,
    NewAction,
)
from models.db.session import Sessions
from rushes.access.callers import CHANGE, READ
from rushes.jobs.actions import abort_action, get_action, list_actions, list_items, request_action
from rushes.jobs.choosing import choose_jobs

router = APIRouter(prefix="/v1/actions", tags=["actions"])

NEW_ACTION: examples.Json = {"kind": "retry", "filter": {"batch": "pilot", "code": "provider"}, "dry_run": False}
NEW_PRIORITY: examples.Json = {"kind": "priority", "filter": {"batch": "pilot"}, "priority": 10}
DRY_ACTION: examples.Json = {
    "id": None,
    "kind": "retry",
    "state": None,
    "filter": {
        "states": ["failed", "cancelled"],
        "batch_id": examples.BATCH_ID,
        "code": "provider",
        "created_before": "2026-11-05T12:30:00Z",
        "ended_before": "2026-11-05T12:30:00Z",
    },
    "arguments": {},
    "requested_by": "mara",
    "matched": 2500,
    "cost": "900.0000",
    "changed": 0,
    "refused": 0,
    "problem": None,
    "created_at": None,
    "ended_at": None,
}
ACTION: examples.Json = {
    **DRY_ACTION,
    "id": examples.ACTION_ID,
    "state": "running",
    "changed": 1200,
    "created_at": "2026-11-05T12:30:00.004120Z",
}
ACTION_PAGE: examples.Json = {"items": [ACTION], "next_cursor": None}
ACTION_ITEMS: examples.Json = {
    "items": [{"job_id": examples.JOB_ID, "client_ref": None, "outcome": "queued", "message": None}],
    "next_cursor": None,
}


@router.post(
    "",
    summary="Change many jobs",
    response_model=ActionView,
    **answers(
        CHANGE,
        202,
        "The action is stored. The leader makes the changes.",
        ACTION,
        *(*BODY_ERRORS, 404, 409),
        also={200: {"model": ActionView, **shows("A dry run: nothing is stored.", DRY_ACTION)}},
    ),
    openapi_extra=takes(NewAction, retry_by_code=NEW_ACTION, new_priority=NEW_PRIORITY),
)
def request(new: ActionBody, once: OnceDep) -> Response:
    """Retry, cancel, pause, resume, reprioritise or recheck every job that meets the filter, or delete a batch.

    The filter is resolved now: jobs that are pushed later, or fail later, do not meet it. 100,000 jobs take less than a
    minute. If the leader dies, the next one goes on, and no job is changed twice. A job that has left the filter before
    its turn stays as it is. A job that cannot be changed is `refused`, with the reason in its item.
    """

    def make(sessions: Sessions) -> Made:
        action = request_action(
            sessions,
            new.kind,
            lambda session: choose_jobs(session, new.filter, once.caller),
            caller=once.caller,
            arguments=new.list_arguments(),
            dry_run=new.dry_run,
        )
        return Made(ActionView.model_validate(action), 200 if new.dry_run else 202)

    return (replace(once, key=None) if new.dry_run else once).answer(make)


@router.get("", summary="List actions", **answers(READ, 200, "A page of actions.", ACTION_PAGE, 422))
def list_all(asked: Annotated[ActionsAsked, Query()], runtime: RuntimeDep, caller: CallerDep) -> ActionPage:
    """Actions, newest first."""
    page = list_actions(runtime.sessions, caller, limit=asked.limit, before=asked.cursor)
    return ActionPage.of(page, ActionView.model_validate)


@router.get("/{action_id}", summary="Show an action", **answers(READ, 200, "The action.", ACTION, 404, 422))
def show(action_id: ActionId, runtime: RuntimeDep) -> ActionView:
    """One action and its progress."""
    return ActionView.model_validate(get_action(runtime.sessions, action_id))


@router.get(
    "/{action_id}/items",
    summary="List an action's results",
    **answers(READ, 200, "A page of results.", ACTION_ITEMS, 404, 422),
)
def show_items(action_id: ActionId, asked: Annotated[ItemsAsked, Query()], runtime: RuntimeDep) -> ActionItemPage:
    """What the action did to each job that it has reached, in the order of the jobs' ids."""
    page = list_items(runtime.sessions, action_id, outcome=asked.outcome, limit=asked.limit, after=asked.cursor)
    return ActionItemPage.of(page, ActionItemView.model_validate)


@router.post("/{action_id}/abort", summary="Abort an action", **answers(CHANGE, 200, "The action.", ACTION, 404, 422))
def abort(action_id: ActionId, runtime: RuntimeDep, caller: CallerDep) -> ActionView:
    """Stop an action that runs. Jobs that it has changed stay changed. An action that has ended stays as it is."""
    problem = f"{caller.by} aborted it"
    return ActionView.model_validate(abort_action(runtime.sessions, action_id, problem=problem, caller=caller))
