"""The account: balance, billing records, usage, prices, models, and the secret of its webhooks."""

from collections.abc import Callable
from decimal import Decimal
from itertools import groupby
from operator import attrgetter
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from rushes.catalog import VideoModel
from sandbox.wavespeed.handlers.schemas import complain_about_size, find_model, list_models, price_of
from sandbox.wavespeed.http.answers import Refusal, envelope
from sandbox.wavespeed.http.bodies import base_of, read_integer, read_object, read_text, read_time
from sandbox.wavespeed.http.gate import GatedService
from sandbox.wavespeed.state.ledger import Record
from sandbox.wavespeed.state.provider import Provider
from sandbox.wavespeed.state.timestamps import NANOSECONDS, format_time, to_ns

CURRENCY = "USD"
USAGE_DAYS = 31
SORTS = ("created_at ASC", "created_at DESC")


async def show_balance(service: GatedService, request: Request) -> ASGIApp:
    """GET /balance."""
    return envelope({"balance": float(service.provider.ledger.balance)})


async def show_account_balance(service: GatedService, request: Request) -> ASGIApp:
    """GET /account/balance, from an older documentation page."""
    return envelope({"balance": float(service.provider.ledger.balance), "currency": CURRENCY})


async def show_webhook_secret(service: GatedService, request: Request) -> ASGIApp:
    """GET /webhook/secret."""
    return envelope({"secret": service.outbox.secret})


async def show_models(service: GatedService, request: Request) -> ASGIApp:
    """GET /models."""
    return envelope(list_models(base_of(request)))


async def show_price(service: GatedService, request: Request) -> ASGIApp:
    """POST /model/price."""
    model, price = await _read_price(request)
    return envelope(
        {
            "model_id": model.id,
            "price": float(price),
            "discounted_price": float(price),
            "discount_rate": 0,
            "currency": CURRENCY,
        }
    )


async def show_pricing(service: GatedService, request: Request) -> ASGIApp:
    """POST /model/pricing, the older of the two price endpoints."""
    model, price = await _read_price(request)
    return envelope({"model_id": model.id, "unit_price": float(price), "currency": CURRENCY})


async def _read_price(request: Request) -> tuple[VideoModel, Decimal]:
    body = await read_object(request)
    model = find_model(read_text(body, "model_id") or "")
    if model is None:
        raise Refusal(400, "Model not found")
    inputs = body.get("inputs") or {}
    if not isinstance(inputs, dict):
        raise Refusal(400, "inputs must be an object")
    if sentence := complain_about_size(model, inputs):
        raise Refusal(400, sentence)
    return model, price_of(model, inputs)


async def search_billings(service: GatedService, request: Request) -> ASGIApp:
    """POST /billings/search: records with their order and prediction, newest first by default."""
    provider = service.provider
    body = await read_object(request)
    page = read_integer(body, "page", low=1, default=1)
    size = read_integer(body, "page_size", low=1, high=100, default=10)
    sort = read_text(body, "sort") or SORTS[1]
    if sort not in SORTS:
        raise Refusal(400, f"sort must be one of {list(SORTS)}")
    found = _search(provider, body)
    found.sort(key=lambda record: record.created, reverse=sort == SORTS[1])
    items = [_show_record(provider, record) for record in found[(page - 1) * size : page * size]]
    return envelope({"page": page, "total": len(found), "has_more": page * size < len(found), "items": items})


def _search(provider: Provider, body: dict[str, Any]) -> list[Record]:
    kind = read_text(body, "billing_type")
    if kind not in {None, "deduct", "refund"}:
        raise Refusal(400, "billing_type must be one of ['deduct', 'refund']")
    ids = body.get("prediction_uuids")
    if ids is not None and not isinstance(ids, list):
        raise Refusal(400, "prediction_uuids must be an array")
    start, end = read_time(body, "start_time"), read_time(body, "end_time")
    model, access_key = read_text(body, "model_uuid"), read_text(body, "access_key_uuid")
    ledger = provider.ledger
    records = [record for each in ids for record in ledger.of(str(each))] if ids else ledger.records
    return [
        record
        for record in records
        if kind in {None, record.type}
        and model in {None, record.model}
        and access_key in {None, record.access_key}
        and (start is None or to_ns(record.created) >= start)
        and (end is None or to_ns(record.created) <= end)
    ]


def _show_record(provider: Provider, record: Record) -> dict[str, Any]:
    task = provider.find(record.task_id)
    price = float(record.price)
    return {
        "uuid": record.uuid,
        "access_key_id": record.access_key,
        "access_key_name": record.access_key,
        "billing_type": record.type,
        "price": price,
        "created_at": format_time(to_ns(record.created)),
        "updated_at": format_time(to_ns(record.updated)),
        "order": {
            "uuid": record.uuid[::-1],
            "state": record.state,
            "price": price,
            "origin_price": price,
            "status": 1,
            "ak_id": record.access_key,
        },
        "prediction": {
            "uuid": record.task_id,
            "model_uuid": record.model,
            "status": task.status_at(provider.now) if task else "deleted",
        },
    }


async def show_usage(service: GatedService, request: Request) -> ASGIApp:
    """POST /user/usage_stats: the money spent, less refunds, in at most 31 days."""
    provider = service.provider
    body = await read_object(request)
    start, end = read_time(body, "start_time"), read_time(body, "end_time")
    if start is None or end is None:
        raise Refusal(400, "start_time and end_time are required")
    if not 0 <= end - start <= USAGE_DAYS * 86_400 * NANOSECONDS:
        raise Refusal(400, f"the time range must not exceed {USAGE_DAYS} days")
    records = _search(provider, body)
    ended = (task.status_at(provider.now) for task in provider.all_tasks() if start <= task.created_ns <= end)
    summary = {
        "total_cost": _sum_up(records),
        "total_requests": len(_list_deducts(records)),
        "success_requests": sum(status == "completed" for status in ended),
    }
    days = [_show_day(date, part) for date, part in _group(records, _date_of)]
    models = [_show_model(model, part) for model, part in _group(records, attrgetter("model"))]
    return envelope({"summary": summary, "daily_usage": days, "per_model_usage": models})


def _show_day(date: str, records: list[Record]) -> dict[str, Any]:
    bought = _list_deducts(records)
    models = sorted({each.model for each in bought})
    return {"date": date, "amount": _sum_up(records), "count": len(bought), "models": models}


def _show_model(model_id: str, records: list[Record]) -> dict[str, Any]:
    model = find_model(model_id)
    bought = _list_deducts(records)
    return {
        "model_uuid": model_id,
        "model_type": "video",
        "unit_price": float(model.price_per_second) if model else 0,
        "total_cost": _sum_up(records),
        "total_count": len(bought),
        "last_used_date": max((format_time(to_ns(each.created)) for each in bought), default=""),
    }


def _group(records: list[Record], key: Callable[[Record], str]) -> list[tuple[str, list[Record]]]:
    return [(name, list(part)) for name, part in groupby(sorted(records, key=key), key)]


def _date_of(record: Record) -> str:
    return format_time(to_ns(record.created))[:10]


def _list_deducts(records: list[Record]) -> list[Record]:
    return [each for each in records if each.type == "deduct"]


def _sum_up(records: list[Record]) -> float:
    """Deductions less refunds."""
    return float(sum(each.price if each.type == "deduct" else -each.price for each in records))
