"""The account: its balance, the prices of renders, and the secret of its webhooks."""

from decimal import Decimal

from starlette.requests import Request
from starlette.types import ASGIApp

from rushes.catalog import VideoModel
from sandbox.wavespeed.handlers.schemas import complain_about_size, find_model, price_of
from sandbox.wavespeed.http.answers import Refusal, envelope
from sandbox.wavespeed.http.bodies import read_object, read_text
from sandbox.wavespeed.http.gate import GatedService

CURRENCY = "USD"


async def show_balance(service: GatedService, request: Request) -> ASGIApp:
    """GET /balance."""
    return envelope({"balance": float(service.provider.ledger.balance)})


async def show_webhook_secret(service: GatedService, request: Request) -> ASGIApp:
    """GET /webhook/secret."""
    return envelope({"secret": service.outbox.secret})


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
