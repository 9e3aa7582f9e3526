"""Read the account: one result, the list of the past 7 days, the balance, and the secret of the webhooks."""

from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from sandbox.wavespeed.http.answers import Refusal, envelope
from sandbox.wavespeed.http.gate import base_of, read_object
from sandbox.wavespeed.state.faults import Strike, Subject
from sandbox.wavespeed.state.provider import Provider, Query
from sandbox.wavespeed.state.tasks import Task, describe
from sandbox.wavespeed.state.timestamps import parse_time, to_ns

PAGE_LIMIT = 100


async def show_result(provider: Provider, request: Request) -> ASGIApp:
    """GET /predictions/{id}/result and /predictions/{id}: 200 also for tasks that failed, 404 for unknown ids."""
    task = provider.find(request.path_params["task_id"])
    if task is None:
        raise Refusal(404, "Prediction not found")
    shown = describe(task, now=provider.now, base=base_of(request))
    return envelope(shown | _show_webhook(task, provider.faults.aim(task.asked.as_subject("result"))))


async def list_predictions(provider: Provider, request: Request) -> ASGIApp:
    """POST /predictions: `{page, items}`, newest first, without a total."""
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


async def show_balance(provider: Provider, request: Request) -> ASGIApp:
    """GET /balance."""
    return envelope({"balance": float(provider.balance)})


async def show_webhook_secret(provider: Provider, request: Request) -> ASGIApp:
    """GET /webhook/secret."""
    return envelope({"secret": provider.outbox.secret})


def _read_query(provider: Provider, body: dict[str, Any]) -> Query:
    newest = 2**63
    if lag := provider.faults.strike("list_lag", Subject("list")):
        newest = to_ns(provider.now - lag.delay)
    before = _read_time(body, "created_before")
    return Query(
        page=_read_integer(body, "page", low=1),
        page_size=_read_integer(body, "page_size", low=1, high=PAGE_LIMIT),
        created_after_ns=max(_read_time(body, "created_after") or 0, provider.oldest_listed_ns),
        created_before_ns=newest if before is None else min(before, newest),
        model=_read_text(body, "model"),
        status=_read_text(body, "status"),
    )


def _read_integer(body: dict[str, Any], name: str, *, low: int, high: int = 2**31) -> int:
    """A whole number from `low` to `high`; required."""
    value = body.get(name)
    if value is None:
        raise Refusal(400, f"{name} is required")
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refusal(400, f"{name} must be an integer")
    if not low <= value <= high:
        raise Refusal(
            400, f"{name} must be between {low} and {high}" if high < 2**31 else f"{name} must be at least {low}"
        )
    return value


def _read_text(body: dict[str, Any], name: str) -> str | None:
    """A string; None if it is missing or empty."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise Refusal(400, f"{name} must be a string")
    return value or None


def _read_time(body: dict[str, Any], name: str) -> int | None:
    """Nanoseconds since 1970; None if it is missing."""
    value = body.get(name)
    if value is None or value == "":
        return None
    moment = parse_time(value)
    if moment is None:
        raise Refusal(400, f"{name} must be an ISO 8601 time")
    return moment


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
