"""/sim: the simulator's statistics, and the switches for its faults. No key; only from this machine."""

from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from rushes.errors import Refused
from sandbox.wavespeed.http.answers import Refusal, as_json
from sandbox.wavespeed.http.bodies import read_integer, read_object
from sandbox.wavespeed.http.gate import GatedService, Handler
from sandbox.wavespeed.state.faults import FAULTS
from sandbox.wavespeed.state.provider import Provider
from sandbox.wavespeed.state.tasks import Task, output_path

LAST_COMPLETIONS = 1_000


class Panel:
    """A route of the control API: without keys, faults and counters, and only for this machine."""

    def __init__(self, handler: Handler, service: GatedService) -> None:
        self._handler = handler
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self._service.provider.advance()
        try:
            answer = await self._answer(request)
        except Refusal as refusal:
            answer = refusal.answer()
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp:
        if request.client is None or not ip_address(request.client.host).is_loopback:
            raise Refusal(403, "the control API is only for this machine")
        return await self._handler(self._service, request)


async def show_stats(service: GatedService, request: Request) -> ASGIApp:
    """GET /sim/stats. `?last=n`: the newest n completion times (seconds since 1970), 1000 by default."""
    provider = service.provider
    counts, farm = provider.counts, provider.farm
    last = _read_last(request, default=LAST_COMPLETIONS)
    return as_json(
        {
            "now": provider.now,
            "requests": counts.requests,
            "answers": counts.answers,
            "accepted": counts.accepted,
            "refused": sum(counts.refused.values()),
            "refused_by_status": counts.refused,
            "ended": counts.ended,
            "unfinished": farm.unfinished,
            "most_unfinished": farm.most_unfinished,
            "running": farm.running,
            "most_running": farm.most_running,
            "slots": farm.slots,
            "ignored_keys": counts.ignored_keys,
            "webhooks": service.outbox.counts,
            "completion_times": counts.completion_times[-last:] if last else [],
        }
    )


async def show_ledger(service: GatedService, request: Request) -> ASGIApp:
    """GET /sim/ledger: all records. Money is sent as strings, so that nothing is rounded."""
    ledger = service.provider.ledger
    return as_json(
        {
            "funds": str(ledger.funds),
            "balance": str(ledger.balance),
            "records": [asdict(record) | {"price": str(record.price)} for record in ledger.records],
        }
    )


async def show_tasks(service: GatedService, request: Request) -> ASGIApp:
    """GET /sim/tasks: every task in the order of acceptance; `?last=n` for the newest n."""
    provider = service.provider
    tasks = list(provider.all_tasks())
    last = _read_last(request, default=len(tasks))
    return as_json([_show_task(provider, task) for task in tasks[len(tasks) - min(last, len(tasks)) :]])


async def show_times(service: GatedService, request: Request) -> ASGIApp:
    """GET /sim/times: `[id, accepted, started, ended]` of every task in the order of acceptance; cheap for thousands.

    Seconds since 1970, null if it has not happened yet. These are the true times, to compare with a client's.
    """
    tasks = service.provider.all_tasks()
    return as_json([[task.id, task.accepted, task.started, task.ended] for task in tasks])


async def show_faults(service: GatedService, request: Request) -> ASGIApp:
    """GET /sim/faults: the active faults with their rules, and a list of all faults."""
    known = {name: each.about for name, each in FAULTS.items()}
    return as_json({"active": service.provider.faults.list_active(), "known": known})


async def put_faults(service: GatedService, request: Request) -> ASGIApp:
    """PUT /sim/faults: `{name: rule, ...}` sets only these faults; with a name in the path, the body is its rule."""
    body = await read_object(request)
    name = request.path_params.get("name")
    faults = service.provider.faults
    try:
        for each, rule in ({name: body} if name else body).items():
            faults.switch_on(each, rule)
    except Refused as error:
        raise Refusal(400, str(error)) from None
    return as_json({"active": faults.list_active()})


async def delete_faults(service: GatedService, request: Request) -> ASGIApp:
    """DELETE /sim/faults or /sim/faults/{name}."""
    faults = service.provider.faults
    faults.switch_off(request.path_params.get("name"))
    return as_json({"active": faults.list_active()})


async def show_account(service: GatedService, request: Request) -> ASGIApp:
    """GET /sim/account: the limits and the balance."""
    return as_json(_show_account(service.provider))


async def put_account(service: GatedService, request: Request) -> ASGIApp:
    """PUT /sim/account: change `balance`, `slots`, `submits_per_minute` or `overflow` while the simulator runs."""
    provider = service.provider
    body = await read_object(request)
    if strangers := set(body) - {"balance", "slots", "submits_per_minute", "overflow"}:
        raise Refusal(400, f"unknown: {', '.join(sorted(strangers))}")
    if body.get("overflow", "queue") not in {"queue", "refuse"}:
        raise Refusal(400, "overflow must be queue or refuse")
    slots = read_integer(body, "slots", low=0, default=provider.farm.slots)
    provider.limit.limit = read_integer(body, "submits_per_minute", low=0, default=provider.limit.limit)
    provider.overflow = body.get("overflow", provider.overflow)
    provider.farm.resize(slots, provider.now)
    if "balance" in body:
        provider.set_balance(_read_money(body["balance"]))
    return as_json(_show_account(provider))


def _show_account(provider: Provider) -> dict[str, Any]:
    return {
        "balance": str(provider.ledger.balance),
        "slots": provider.farm.slots,
        "submits_per_minute": provider.limit.limit,
        "overflow": provider.overflow,
    }


def _read_money(value: object) -> Decimal:
    try:
        money = Decimal(str(value))
    except InvalidOperation:
        raise Refusal(400, "balance must be a number") from None
    if not money.is_finite():
        raise Refusal(400, "balance must be a number")
    return money


def _read_last(request: Request, *, default: int) -> int:
    text = request.query_params.get("last", "")
    if text and not text.isdecimal():
        raise Refusal(400, "last must be a whole number")
    return int(text) if text else default


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
        "price": str(task.price),
        "webhook": task.asked.webhook,
        "webhook_attempts": task.webhook_attempts,
        "output": output_path(task.id) if task.has_video else None,
        "error": task.fate.error if task.ended is not None else "",
    }
