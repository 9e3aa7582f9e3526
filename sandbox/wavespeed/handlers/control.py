"""/sim: the simulator's statistics, and the switches for its faults. No key; only from this machine."""

from ipaddress import ip_address
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.wavespeed.http.answers import Refusal, as_json
from sandbox.wavespeed.http.gate import Handler, read_object
from sandbox.wavespeed.state.provider import Provider
from sandbox.wavespeed.state.tasks import Task, output_path


class Panel:
    """A route of the control API: without keys, faults and counters, and only for this machine."""

    def __init__(self, handler: Handler, provider: Provider) -> None:
        self._handler = handler
        self._provider = provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self._provider.advance()
        is_local = request.client is not None and ip_address(request.client.host).is_loopback
        refused = Refusal(403, "the control API is only for this machine")
        try:
            answer = await self._handler(self._provider, request) if is_local else refused.answer()
        except Refusal as refusal:
            answer = refusal.answer()
        await answer(scope, receive, send)


async def show_stats(provider: Provider, request: Request) -> ASGIApp:
    """GET /sim/stats: the counters, and the present state of the farm."""
    counts, farm = provider.counts, provider.farm
    return as_json(
        {
            "requests": counts.requests,
            "accepted": counts.accepted,
            "refused": counts.refused,
            "ended": counts.ended,
            "unfinished": farm.unfinished,
            "most_unfinished": farm.most_unfinished,
            "running": farm.running,
            "most_running": farm.most_running,
            "webhooks": provider.outbox.counts,
            "balance": str(provider.balance),
        }
    )


async def show_tasks(provider: Provider, request: Request) -> ASGIApp:
    """GET /sim/tasks: every task in the order of acceptance."""
    return as_json([_show_task(provider, task) for task in provider.all_tasks()])


async def show_times(provider: Provider, request: Request) -> ASGIApp:
    """GET /sim/times: `[id, accepted, started, ended]` of every task in the order of acceptance; cheap for thousands.

    Seconds since 1970, null if it has not happened yet. These are the true times, to compare with a client's.
    """
    tasks = provider.all_tasks()
    return as_json([[task.id, task.accepted, task.started, task.ended] for task in tasks])


async def show_faults(provider: Provider, request: Request) -> ASGIApp:
    """GET /sim/faults: the active faults with their rules; `--help` lists all."""
    return as_json({"active": provider.faults.list_active()})


async def put_faults(provider: Provider, request: Request) -> ASGIApp:
    """PUT /sim/faults: `{name: rule, ...}` sets these faults and leaves the others."""
    body = await read_object(request)
    faults = provider.faults
    try:
        for name, rule in body.items():
            faults.switch_on(name, rule)
    except ValueError as error:
        raise Refusal(400, str(error)) from None
    return as_json({"active": faults.list_active()})


async def delete_faults(provider: Provider, request: Request) -> ASGIApp:
    """DELETE /sim/faults or /sim/faults/{name}."""
    faults = provider.faults
    faults.switch_off(request.path_params.get("name"))
    return as_json({"active": faults.list_active()})


def _show_task(provider: Provider, task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "model": task.asked.model.id,
        "input": task.asked.given,
        "status": task.status_at(provider.now),
        "created_at": task.created_at,
        "accepted": task.accepted,
        "started": task.started,
        "ended": task.ended,
        "duration": task.duration,
        "price": str(task.price),  # as text, so that nothing is rounded
        "money": task.money,
        "webhook": task.asked.webhook,
        "output": output_path(task.id) if task.has_video else None,
        "error": task.fate.error if task.ended is not None else "",
    }
