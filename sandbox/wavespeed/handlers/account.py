"""The account: its balance, and the secret of its webhooks."""

from starlette.requests import Request
from starlette.types import ASGIApp

from sandbox.wavespeed.http.answers import envelope
from sandbox.wavespeed.http.gate import GatedService


async def show_balance(service: GatedService, request: Request) -> ASGIApp:
    """GET /balance."""
    return envelope({"balance": float(service.provider.ledger.balance)})


async def show_webhook_secret(service: GatedService, request: Request) -> ASGIApp:
    """GET /webhook/secret."""
    return envelope({"secret": service.outbox.secret})
