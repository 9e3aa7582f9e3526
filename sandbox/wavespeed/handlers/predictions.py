"""Read tasks: one result, or the list of the past 7 days."""

from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from sandbox.wavespeed.http.answers import Refusal, envelope
from sandbox.wavespeed.http.bodies import base_of, read_integer, read_object, read_text, read_time
from sandbox.wavespeed.http.gate import GatedService
from sandbox.wavespeed.state.faults import Strike, Subject
from sandbox.wavespeed.state.listing import Query
from sandbox.wavespeed.state.provider import Provider
from sandbox.wavespeed.state.tasks import Task, describe
from sandbox.wavespeed.state.timestamps import to_ns

PAGE_LIMIT = 100


async def show_result(service: GatedService, request: Request) -> ASGIApp:
    """GET /predictions/{id}/result and /predictions/{id}: 200 also for tasks that failed, 404 for unknown ids."""
    provider = service.provider
    task = provider.find(request.path_params["task_id"])
    if task is None:
        raise Refusal(404, "Prediction not found")
    shown = describe(task, now=provider.now, base=base_of(request))
    return envelope(shown | _show_webhook(task, provider.faults.aim(task.asked.as_subject("result"))))


async def list_predictions(service: GatedService, request: Request) -> ASGIApp:
    """POST /predictions: `{page, items}`, newest first, without a total."""
    provider = service.provider
    body = await read_object(request)
    query = _read_query(provider, body)
    with_inputs = body.get("include_inputs") is True
    base = base_of(request)
    items = []
    for task in provider.list_tasks(query):
        strike = provider.faults.aim(task.asked.as_subject("list"))
        inputs = _show_inputs(task, strike) if with_inputs else {}
        items.append(describe(task, now=provider.now, base=base) | inputs | _show_webhook(task, strike))
    return envelope({"page": query.page, "items": items})


def _read_query(provider: Provider, body: dict[str, Any]) -> Query:
    newest = 2**63
    if lag := provider.faults.strike("list_lag", Subject("list", str(body.get("model", "")))):
        newest = to_ns(provider.now - lag.delay)
    before = read_time(body, "created_before")
    return Query(
        page=read_integer(body, "page", low=1),
        page_size=read_integer(body, "page_size", low=1, high=PAGE_LIMIT),
        created_after_ns=max(read_time(body, "created_after") or 0, provider.oldest_listed_ns),
        created_before_ns=newest if before is None else min(before, newest),
        model=read_text(body, "model"),
        status=read_text(body, "status"),
    )


def _show_inputs(task: Task, strike: Strike) -> dict[str, Any]:
    if strike("list_without_inputs"):
        return {}
    shown = task.asked.values if strike("list_inputs_with_defaults") else task.asked.given
    if strike("list_inputs_reordered"):
        shown = dict(sorted(shown.items(), reverse=True))
    return {"input" if strike("list_inputs_as_input") else "inputs": shown}


def _show_webhook(task: Task, strike: Strike) -> dict[str, Any]:
    """The documentation does not state whether the provider shows the webhook."""
    rule = strike("show_webhook") if task.asked.webhook is not None else None
    return {rule.text: task.asked.webhook} if rule else {}
